import pytest

from jaxdl.models.mobilenet_v2 import MobileNetV2
from tests.models.contract import check_contract


@pytest.mark.slow
def test_the_model_keeps_the_contract():
    model = MobileNetV2(num_classes=5, width_factor=0.2, stem_stride=1, stochastic_depth_rate=0.2)
    _, logits = check_contract(model, {"image": (4, 16, 16, 3)}, half_tolerance=0.2)
    assert logits.shape == (4, 5)


def test_bad_choices_are_refused_at_construction():
    with pytest.raises(ValueError, match="width_factor must be positive, not 0"):
        MobileNetV2(num_classes=2, width_factor=0)
    with pytest.raises(ValueError, match="Did you mean 'relu6'"):
        MobileNetV2(num_classes=2, activation="relu66")
