import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.vgg import VGG
from tests.models.contract import check_contract


@pytest.mark.slow
def test_the_model_keeps_the_contract():
    model = VGG(num_classes=5, depth=11, width=2, hidden=(6, 7), batch_norm=True)
    exempt = {"stage_.*/conv_.*/bias": "batch normalization subtracts it"}
    _, logits = check_contract(model, {"image": (4, 32, 32, 3)}, exempt=exempt, half_tolerance=0.1)
    assert logits.shape == (4, 5)


@pytest.mark.parametrize("hidden", [(6, 7), ()])
def test_equals_torch_and_gives_features(hidden):
    torch = pytest.importorskip("torch")
    from tests.models.torch_layers import assert_equal

    def theirs(layers, x):
        for stage, count in enumerate((1, 1, 2, 2, 2)):
            for index in range(count):
                x = layers.conv(x, f"stage_{stage}/conv_{index}").relu()
            x = torch.nn.functional.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).flatten(1) if hidden else x.mean((2, 3))
        for index in range(len(hidden)):
            x = layers.dense(x, f"hidden_{index}").relu()
        return x

    model = VGG(num_classes=None, depth=11, width=2, hidden=hidden, remat=True)
    assert_equal(model, np.random.default_rng(0).normal(size=(2, 64, 32, 3)), theirs)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match=r"depth must be one of .*not 12"):
        VGG(num_classes=2, depth=12)
    with pytest.raises(ValueError, match="at least 32 x 32"):
        VGG(num_classes=2).init(jax.random.key(0), jnp.zeros((1, 28, 28, 3)), train=False)
