"""Every operation against Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxdl.augment import RandAugment
from jaxdl.augment import operations as ops
from jaxdl.augment.randaugment import OPERATIONS, operate

random = np.random.default_rng(0)
SMOOTHLY = np.add.outer(np.arange(20) * 5, np.arange(28) * 3)[..., None] + np.array([5, 20, 60])
IMAGES = {
    "noise": random.integers(0, 256, (20, 28, 3)).astype(np.uint8),
    "narrow": random.integers(90, 140, (20, 28, 3)).astype(np.uint8),
    "smooth": SMOOTHLY.clip(0, 255).astype(np.uint8),
    "flat": np.full((20, 28, 3), 77, np.uint8),
    "gray": random.integers(0, 256, (20, 28, 1)).astype(np.uint8),
}
RUN = jax.jit(operate)


def affine(*matrix):
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


PILLOW = {
    "identity": lambda image: image,
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "solarize": lambda image: ImageOps.solarize(image, 0.4 * 256),
    "posterize": lambda image: ImageOps.posterize(image, 6),
    "color": lambda image: ImageEnhance.Color(image).enhance(1 + 0.9 * 0.6),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1 + 0.9 * 0.6),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1 + 0.9 * 0.6),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * 0.6),
    "rotate": lambda image: image.rotate(18, Image.Resampling.NEAREST),
    "shear_x": affine(1, 0.18, 0, 0, 1, 0),
    "shear_y": affine(1, 0, 0, 0.18, 1, 0),
    "translate_x": affine(1, 0, round(0.45 * 0.6 * 28), 0, 1, 0),
    "translate_y": affine(1, 0, 0, 0, 1, round(0.45 * 0.6 * 20)),
}


def pillow(name, image):
    squeezed = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(PILLOW[name](squeezed)).reshape(image.shape)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("case", IMAGES)
def test_an_operation_equals_pillow(name, case):
    image = IMAGES[case]
    ours, expected = np.asarray(RUN(image, OPERATIONS.index(name), 0.6)).astype(int), pillow(name, image).astype(int)
    assert ours.dtype == expected.dtype
    if name in ("rotate", "shear_x", "shear_y"):
        # Pillow steps in fixed point; a centre that falls on a pixel's edge may go to either side.
        assert (ours != expected).any(-1).mean() < 0.01
    else:
        # Pillow cuts fractions off in double precision, so that a value may differ by one.
        assert np.abs(ours - expected).max() <= 1
        assert (ours != expected).mean() < 0.02


@pytest.mark.parametrize("name", ["rotate", "shear_x", "translate_y", "brightness", "contrast", "color", "sharpness"])
def test_the_sign_of_the_strength_matters(name):
    image = IMAGES["noise"]
    assert (RUN(image, OPERATIONS.index(name), 0.6) != RUN(image, OPERATIONS.index(name), -0.6)).any()


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"auto_contrast", "equalize"}))
def test_strength_zero_is_the_identity(name):
    np.testing.assert_array_equal(RUN(IMAGES["noise"], OPERATIONS.index(name), 0.0), IMAGES["noise"])


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_posterize_equals_pillow_for_any_number_of_bits(bits):
    image = IMAGES["noise"]
    np.testing.assert_array_equal(
        ops.look_up(image, ops.posterize_table(3, bits)), np.asarray(ImageOps.posterize(Image.fromarray(image), bits))
    )


def test_pixels_from_outside_are_filled():
    moved = np.asarray(RUN(IMAGES["noise"], OPERATIONS.index("translate_x"), 1.0, 99))
    np.testing.assert_array_equal(moved[:, -13:], np.full((20, 13, 3), 99))
    np.testing.assert_array_equal(moved[:, :-13], IMAGES["noise"][:, 13:])


def test_no_operations_are_the_identity():
    batch = {"image": IMAGES["noise"][None]}
    np.testing.assert_array_equal(RandAugment(num_ops=0)(jax.random.key(0), batch)["image"], batch["image"])


def test_operations_are_drawn_evenly():
    image = np.broadcast_to(IMAGES["narrow"], (420, 20, 28, 3))
    out = np.asarray(jax.jit(RandAugment(num_ops=1, magnitude=5))(jax.random.key(0), {"image": image})["image"])
    results = {sign: [np.asarray(RUN(IMAGES["narrow"], i, sign * 0.5)) for i in range(14)] for sign in (1, -1)}
    counts = np.zeros(14)
    for changed in out:
        matches = [i for i in range(14) if any((changed == results[sign][i]).all() for sign in (1, -1))]
        assert matches
        counts[matches[0]] += 1
    # 30 each, standard deviation 5.3.
    assert counts.min() >= 9
    assert counts.max() <= 51


def test_floats_return_as_floats_of_the_same_pixels():
    key, image = jax.random.key(0), np.stack([IMAGES["noise"]] * 8)
    augment = jax.jit(RandAugment(num_ops=1))
    levels = augment(key, {"image": image})["image"]
    floats = augment(key, {"image": jnp.asarray(image, jnp.float32) / 255})["image"]
    assert floats.dtype == jnp.float32
    np.testing.assert_allclose(floats, levels / 255, atol=1e-6)


@pytest.mark.parametrize("change", [{"num_ops": -1}, {"magnitude": 11.0}, {"fill": 256}])
def test_bad_choices_are_refused_at_construction(change):
    with pytest.raises(ValueError, match=str(next(iter(change)))):
        RandAugment(**change)
