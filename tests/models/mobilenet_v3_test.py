import numpy as np
import pytest

from jaxdl.models.mobilenet_v3 import VARIANTS, MobileNetV3
from tests.models.contract import check_contract


@pytest.mark.slow
def test_the_model_keeps_the_contract():
    model = MobileNetV3(num_classes=5, variant="small", width_factor=0.2, stem_stride=1)
    _, logits = check_contract(model, {"image": (4, 32, 32, 3)}, half_tolerance=0.2)
    assert logits.shape == (4, 5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["small", "large"])
def test_equals_torch(variant):
    torch = pytest.importorskip("torch")
    from tests.models.torch_layers import assert_equal

    functional = torch.nn.functional

    def normalized(layers, x, conv, norm, act, stride=1, groups=1):
        return act(layers.norm(layers.conv(x, conv, stride, groups=groups), norm, 1e-3))

    def block(layers, x, name, row):
        act, y = functional.relu if row.activation == "relu" else functional.hardswish, x
        if layers.has(f"{name}/expand_conv"):
            y = normalized(layers, y, f"{name}/expand_conv", f"{name}/expand_norm", act)
        wide = y.shape[1]
        y = normalized(layers, y, f"{name}/depthwise_conv", f"{name}/depthwise_norm", act, row.stride, wide)
        assert layers.has(f"{name}/squeeze_excite") == row.squeeze
        if row.squeeze:
            scale = layers.dense(y.mean((2, 3)), f"{name}/squeeze_excite/reduce").relu()
            scale = functional.hardsigmoid(layers.dense(scale, f"{name}/squeeze_excite/expand"))
            y = y * scale[:, :, None, None]
        y = normalized(layers, y, f"{name}/project_conv", f"{name}/project_norm", torch.nn.Identity())
        return x + y if x.shape == y.shape and row.stride == 1 else y

    def theirs(layers, x):
        x = normalized(layers, x, "stem_conv", "stem_norm", functional.hardswish, 2)
        for index, row in enumerate(VARIANTS[variant]):
            x = block(layers, x, f"block_{index}", row)
        x = normalized(layers, x, "last_conv", "last_norm", functional.hardswish).mean((2, 3))
        return layers.dense(functional.hardswish(layers.dense(x, "hidden")), "head")

    model = MobileNetV3(num_classes=5, variant=variant, width_factor=0.3)
    assert_equal(model, np.random.default_rng(0).normal(size=(2, 40, 33, 3)), theirs)


def test_bad_choices_are_refused_at_construction():
    with pytest.raises(ValueError, match=r"variant must be one of .*not 'tiny'"):
        MobileNetV3(num_classes=2, variant="tiny")
