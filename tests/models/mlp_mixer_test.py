import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.mlp_mixer import MLPMixer
from tests.models.contract import check_contract


def test_the_model_keeps_the_contract():
    model = MLPMixer(num_classes=5, depth=1, width=8, patch_size=4, dropout_rate=0.1)
    _, logits = check_contract(model, {"image": (4, 8, 8, 3)})
    assert logits.shape == (4, 5)


@pytest.mark.parametrize("remat", [False, True])
def test_equals_torch_and_gives_features(remat):
    torch = pytest.importorskip("torch")
    from tests.models.torch_layers import assert_equal

    gelu = torch.nn.functional.gelu

    def theirs(layers, x):
        x = layers.conv(x, "stem_conv", 4, 0).flatten(2).transpose(1, 2)
        for index in range(2):
            y = layers.layer_norm(x, f"block_{index}/token_norm").transpose(1, 2)
            y = layers.dense(gelu(layers.dense(y, f"block_{index}/token_expand")), f"block_{index}/token_project")
            x = x + y.transpose(1, 2)
            y = layers.layer_norm(x, f"block_{index}/channel_norm")
            x = x + layers.dense(
                gelu(layers.dense(y, f"block_{index}/channel_expand")), f"block_{index}/channel_project"
            )
        return layers.layer_norm(x, "norm").mean(1)

    model = MLPMixer(num_classes=None, depth=2, width=8, token_width=5, channel_width=9, patch_size=4, remat=remat)
    assert_equal(model, np.random.default_rng(0).normal(size=(2, 8, 12, 3)), theirs)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match=r"variant must be one of .*not 'tiny'"):
        MLPMixer(num_classes=2, variant="tiny")
    with pytest.raises(ValueError, match=r"patch_size 16 does not divide the image \(30, 32\)"):
        MLPMixer(num_classes=2, depth=1).init(jax.random.key(0), jnp.zeros((1, 30, 32, 3)), train=False)
