import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.unet import UNet
from tests.models.contract import check_contract


@pytest.mark.parametrize("upsampling", ["transpose", pytest.param("bilinear", marks=pytest.mark.slow)])
def test_the_model_keeps_the_contract(upsampling):
    model = UNet(num_classes=2, width=3, depth=1, batch_norm=True, upsampling=upsampling, dropout_rate=0.3)
    _, logits = check_contract(model, {"image": (4, 10, 9, 3)}, half_tolerance=0.1)
    assert logits.shape == (4, 10, 9, 2)


@pytest.mark.parametrize(
    ("batch_norm", "upsampling"),
    [pytest.param(False, "transpose", marks=pytest.mark.slow), (True, "bilinear")],
)
def test_equals_torch(batch_norm, upsampling):
    torch = pytest.importorskip("torch")
    from tests.models.torch_layers import assert_equal

    functional = torch.nn.functional

    def pair(layers, x, name):
        for index in range(2):
            x = layers.conv(x, f"{name}/conv_{index}")
            x = (layers.norm(x, f"{name}/norm_{index}") if batch_norm else x).relu()
        return x

    def enlarged(layers, x, name):
        if upsampling == "transpose":
            return layers.up(x, name)
        return layers.conv(functional.interpolate(x, scale_factor=2, mode="bilinear"), name)

    def theirs(layers, x):
        shortcuts = []
        for level in range(2):
            shortcuts.append(pair(layers, x, f"down_{level}"))
            x = functional.max_pool2d(shortcuts[-1], 2)
        x = pair(layers, x, "bottom")
        for level in (1, 0):
            x = torch.cat([shortcuts[level], enlarged(layers, x, f"enlarge_{level}")], 1)
            x = pair(layers, x, f"up_{level}")
        return layers.conv(x, "head")

    model = UNet(num_classes=2, width=3, depth=2, batch_norm=batch_norm, upsampling=upsampling)
    assert_equal(model, np.random.default_rng(0).normal(size=(2, 8, 12, 1)), theirs)


def test_any_size_is_filled_up_with_zeros_and_cut_back():
    model = UNet(num_classes=None, width=2, depth=2, remat=True)
    image = jax.random.normal(jax.random.key(0), (1, 6, 5, 1))
    variables = model.init(jax.random.key(1), image, train=False)
    whole = jnp.pad(image, ((0, 0), (0, 2), (0, 3), (0, 0)))
    expected = model.apply(variables, whole, train=False)[:, :6, :5]
    np.testing.assert_array_equal(model.apply(variables, image, train=False), expected)


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": 0}, "at least 1, not 0"), ({"upsampling": "cubic"}, "not 'cubic'")]
)
def test_bad_choices_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(num_classes=2, **options)
