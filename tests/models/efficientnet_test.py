import pytest

from jaxdl.models.efficientnet import EfficientNet
from tests.models.contract import check_contract


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["b0", "lite0"])
def test_the_model_keeps_the_contract(variant):
    model = EfficientNet(
        num_classes=5, variant=variant, width_factor=0.1, depth_factor=0.3, stem_stride=1, stochastic_depth_rate=0.4
    )
    _, logits = check_contract(model, {"image": (4, 16, 16, 3)}, half_tolerance=0.2)
    assert logits.shape == (4, 5)


def test_depths_and_widths_grow_as_published():
    assert [len(EfficientNet(num_classes=2, variant=f"b{size}").blocks()) for size in range(8)] == [
        16, 23, 23, 26, 32, 39, 45, 55,
    ]  # fmt: skip
    assert EfficientNet(num_classes=2, variant="b7").blocks()[-1].features == 640


def test_the_ends_of_lite_do_not_grow():
    blocks = EfficientNet(num_classes=2, variant="lite4").blocks()
    assert (blocks[0].inputs, len(blocks)) == (32, 30)


def test_bad_choices_are_refused_at_construction():
    with pytest.raises(ValueError, match=r"variant must be one of .*not 'b8'"):
        EfficientNet(num_classes=2, variant="b8")
    with pytest.raises(ValueError, match="Did you mean 'silu'"):
        EfficientNet(num_classes=2, activation="sillu")
