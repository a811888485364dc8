import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.augment import RandomCrop, RandomErasing, RandomFlip

random = np.random.default_rng(0)
IMAGE = random.integers(1, 256, (200, 6, 5, 2)).astype(np.uint8)


def apply(augmentation, image=IMAGE, seed=0):
    return np.asarray(jax.jit(augmentation)(jax.random.key(seed), {"image": image})["image"])


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_every_crop_is_a_window_of_the_padded_image_and_all_occur(mode):
    cropped = apply(RandomCrop(padding=1, mode=mode))
    padded = np.pad(IMAGE, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
    places = []
    for row in range(len(IMAGE)):
        windows = {(y, x): padded[row, y : y + 6, x : x + 5] for y in range(3) for x in range(3)}
        (place,) = [place for place, window in windows.items() if (window == cropped[row]).all()]
        places.append(place)
    counts = np.unique(places, axis=0, return_counts=True)[1]
    # 200 draws of 9 places: 22 each; below 7 or above 45 lies beyond four standard deviations.
    assert len(counts) == 9
    assert counts.min() > 6
    assert counts.max() < 46


def test_crop_fills_with_its_value_and_zero_padding_is_the_identity():
    filled = apply(RandomCrop(padding=2, fill=7.0), np.zeros((50, 4, 4, 1), np.uint8))
    assert set(np.unique(filled)) == {0, 7}
    np.testing.assert_array_equal(apply(RandomCrop(padding=0)), IMAGE)


def test_flip_mirrors_the_columns_of_half_of_the_images():
    flipped = apply(RandomFlip())
    same = (flipped == IMAGE).all((1, 2, 3))
    np.testing.assert_array_equal(flipped[~same], IMAGE[~same, :, ::-1])
    assert 70 < same.sum() < 130


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_flip_honours_its_probability(probability):
    np.testing.assert_array_equal(apply(RandomFlip(probability=probability)), IMAGE[:, :, :: 1 - 2 * int(probability)])


def test_erasing_writes_one_rectangle_of_the_drawn_area():
    image = np.ones((300, 20, 30, 1), np.float32)
    erased = apply(RandomErasing(probability=0.5, area=(0.1, 0.3), aspect=(0.5, 2.0), fill=0.0), image)[..., 0] == 0
    touched = erased.any((1, 2))
    # 150 expected, standard deviation 8.7.
    assert 110 < touched.sum() < 190
    shares = erased[touched].mean((1, 2))
    assert 0.08 < shares.min() < 0.13 < 0.27 < shares.max() < 0.33
    for pixels in erased[touched]:
        rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
        assert pixels.sum() == len(rows) * len(columns)
        assert len(rows) == np.ptp(rows) + 1
        assert 0.4 < len(rows) / len(columns) < 2.5
    # Every row and every column is within reach.
    assert erased.any((0, 1)).all()
    assert erased.any((0, 2)).all()


def test_erasing_with_noise_fills_the_range_of_the_type():
    noise = apply(
        RandomErasing(probability=1.0, area=(0.9, 1.0), aspect=(1.0, 1.0), fill=None),
        np.zeros((20, 16, 16, 1), np.uint8),
    )
    assert noise.max() > 250
    assert 100 < noise[noise > 0].mean() < 155
    floats = apply(RandomErasing(probability=1.0, fill=None), jnp.full((20, 16, 16, 1), -1.0))
    assert 0 <= floats[floats >= 0].min() < floats.max() < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(padding=-1), "-1"),
        (lambda: RandomCrop(mode="edge"), "'edge'"),
        (lambda: RandomFlip(probability=1.5), "1.5"),
        (lambda: RandomErasing(probability=-0.1), "-0.1"),
        (lambda: RandomErasing(area=(0.5, 0.1)), "area"),
        (lambda: RandomErasing(aspect=(0.0, 1.0)), "aspect"),
    ],
)
def test_bad_choices_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()
