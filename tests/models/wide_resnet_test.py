import numpy as np
import pytest

from jaxdl.models.wide_resnet import WideResNet
from tests.models.contract import check_contract


def test_the_model_keeps_the_contract():
    model = WideResNet(num_classes=5, depth=10, width_factor=1, dropout_rate=0.3)
    _, logits = check_contract(model, {"image": (4, 8, 8, 3)})
    assert logits.shape == (4, 5)


@pytest.mark.parametrize("remat", [False, True])
def test_equals_torch_and_gives_features(remat):
    pytest.importorskip("torch")
    from tests.models.torch_layers import assert_equal

    def theirs(layers, x):
        x = layers.conv(x, "stem_conv")
        for stage in range(3):
            for index in range(2):
                name = f"stage_{stage}_block_{index}"
                stride = 2 if stage and not index else 1
                first = layers.norm(x, f"{name}/norm_0").relu()
                y = layers.conv(first, f"{name}/conv_0", stride)
                y = layers.conv(layers.norm(y, f"{name}/norm_1").relu(), f"{name}/conv_1")
                shortcut = f"{name}/shortcut_conv"
                assert layers.has(shortcut) == (index == 0)
                x = y + (layers.conv(first, shortcut, stride) if index == 0 else x)
        return layers.norm(x, "norm").relu().mean((2, 3))

    model = WideResNet(num_classes=None, depth=16, width_factor=2, remat=remat)
    assert_equal(model, np.random.default_rng(0).normal(size=(2, 10, 8, 3)), theirs)


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": 20}, r"6 n \+ 4.*not 20"), ({"width_factor": 0}, "at least 1, not 0")]
)
def test_bad_choices_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(num_classes=2, **options)
