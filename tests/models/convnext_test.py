import pytest

from jaxdl.models.convnext import ConvNeXt
from tests.models.contract import check_contract


def test_the_model_keeps_the_contract():
    model = ConvNeXt(num_classes=5, depths=(1, 1), widths=(4, 6), patch_size=2, stochastic_depth_rate=0.4)
    _, logits = check_contract(model, {"image": (4, 8, 8, 3)})
    assert logits.shape == (4, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"variant": "b0"}, "variant must be one of .*not 'b0'"), ({"depths": (1, 2)}, "the same stages")],
)
def test_bad_choices_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        ConvNeXt(num_classes=2, **options)
