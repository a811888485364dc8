import io

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.data.transforms import (
    CenterCrop,
    Decode,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ResizeSmallest,
    ToGray,
)
from jaxdl.errors import DataError

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
EXAMPLE = {"image": IMAGE, "label": 3}


def png(image=IMAGE):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(transform, image=IMAGE, seed=0):
    example = {"image": image, "label": 3}
    result = transform.random_map(example, rng(seed)) if hasattr(transform, "random_map") else transform.map(example)
    assert example["image"] is image, "the example itself stays as it is"
    assert result["label"] == 3
    return result["image"]


def test_decode_bytes_and_their_vector():
    assert (apply(Decode(), png()) == IMAGE).all()
    assert (apply(Decode(), np.frombuffer(png(), np.uint8)) == IMAGE).all()
    assert apply(Decode(channels=1), png()).shape == (20, 30, 1)
    with pytest.raises(DataError, match="already decoded"):
        apply(Decode(), IMAGE)
    with pytest.raises(DataError, match="corrupt"):
        apply(Decode(), png()[:-100])


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_resize_equals_pillow(method, channels):
    image = np.dstack([IMAGE, IMAGE])[..., :channels]
    result = apply(Resize(size=(7, 9), method=method), image)
    assert result.shape == (7, 9, channels)
    for i in range(channels):
        plane = Image.fromarray(image[..., i]).resize((9, 7), Image.Resampling[method.upper()])
        assert (result[..., i] == np.asarray(plane)).all()


def test_resize_to_the_same_size_changes_nothing():
    assert (apply(Resize(size=(20, 30))) == IMAGE).all()
    assert apply(Resize(size=8)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("shape", "size", "expected"), [((20, 30), 10, (10, 15)), ((31, 20), 10, (16, 10)), ((3, 1000), 2, (2, 667))]
)
def test_resize_smallest_keeps_proportions(shape, size, expected):
    assert apply(ResizeSmallest(size=size), np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


def test_center_crop():
    assert (apply(CenterCrop(size=(10, 20))) == IMAGE[5:15, 5:25]).all()
    assert (apply(CenterCrop(size=20)) == IMAGE[:, 5:25]).all()
    with pytest.raises(DataError, match=r"CenterCrop to .* 20 x 30"):
        apply(CenterCrop(size=21))


def test_random_crop_takes_every_place():
    places = set()
    windows = {IMAGE[y : y + 18, x : x + 28].tobytes(): (y, x) for y in range(3) for x in range(3)}
    for seed in range(100):
        places.add(windows[apply(RandomCrop(size=(18, 28)), seed=seed).tobytes()])
    assert len(places) == 9


def test_random_crop_pads_with_zeros():
    ones = np.ones((8, 8, 1), np.uint8)
    crops = [apply(RandomCrop(size=8, padding=4), ones, seed) for seed in range(50)]
    assert {crop.shape for crop in crops} == {(8, 8, 1)}
    assert min(crop.sum() for crop in crops) < 40
    assert max(crop.sum() for crop in crops) > 50
    with pytest.raises(DataError, match="RandomCrop"):
        apply(RandomCrop(size=31))


def test_random_flip():
    results = [apply(RandomFlip(), seed=seed) for seed in range(40)]
    flipped = [(result == IMAGE[:, ::-1]).all() for result in results]
    assert all(f or (result == IMAGE).all() for f, result in zip(flipped, results, strict=True))
    assert 8 < sum(flipped) < 32
    assert (apply(RandomFlip(probability=1.0)) == IMAGE[:, ::-1]).all()
    assert (apply(RandomFlip(probability=0.0)) == IMAGE).all()


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    least=st.floats(0.01, 1),
    ratio=st.floats(0.1, 10),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_random_resized_crop_stays_inside(height, width, least, ratio, seed):
    transform = RandomResizedCrop(size=5, scale=(least, 1.0), ratio=(ratio, 2 * ratio))
    left, top, right, bottom = transform._draw(height, width, rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert apply(transform, np.zeros((height, width, 3), np.uint8), seed).shape == (5, 5, 3)


def test_random_resized_crop_draws_areas_and_proportions_as_stated():
    transform = RandomResizedCrop(size=8, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    boxes = np.array([transform._draw(400, 400, rng(seed)) for seed in range(500)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = widths * heights / 400**2
    assert areas.min() > 0.195
    assert areas.max() < 0.505
    assert abs(areas.mean() - 0.35) < 0.02
    assert abs(np.log(widths / heights).mean()) < 0.06
    assert (widths / heights).max() < 2.02


def test_random_resized_crop_of_everything_is_a_resize():
    whole = RandomResizedCrop(size=(7, 9), scale=(1.0, 1.0), ratio=(1.5, 1.5))
    assert (apply(whole) == apply(Resize(size=(7, 9)))).all()


def test_gray_equals_pillow():
    assert (apply(ToGray())[..., 0] == np.asarray(Image.fromarray(IMAGE).convert("L"))).all()
    assert (apply(ToGray(), IMAGE[..., :1]) == IMAGE[..., :1]).all()
    with pytest.raises(DataError, match="not 2"):
        apply(ToGray(), IMAGE[..., :2])


@pytest.mark.parametrize(
    "transform",
    [Resize(size=4), ResizeSmallest(size=4), CenterCrop(size=4), RandomCrop(size=4), RandomFlip(), ToGray()],
)
@pytest.mark.parametrize("image", [b"bytes", IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[:0]])
def test_refuses_what_is_no_image(transform, image):
    with pytest.raises(DataError, match=r"needs an image of uint8 \(H, W, C\)"):
        apply(transform, image)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (Decode, {"channels": 2}),
        (Resize, {"size": 0}),
        (Resize, {"size": 4, "method": "cubic"}),
        (ResizeSmallest, {"size": -1}),
        (CenterCrop, {"size": (4, 0)}),
        (RandomCrop, {"size": 4, "padding": -1}),
        (RandomFlip, {"probability": 2.0}),
        (RandomResizedCrop, {"size": 4, "scale": (0.0, 1.0)}),
        (RandomResizedCrop, {"size": 4, "scale": (0.5, 0.2)}),
        (RandomResizedCrop, {"size": 4, "ratio": (2.0, 1.0)}),
    ],
)
def test_refuses_at_construction(make, arguments):
    with pytest.raises(ValueError, match="not"):
        make(**arguments)


def test_the_same_chain_runs_in_grain_and_in_a_pipeline():
    images = [png(np.full((6, 6, 3), i, np.uint8)) for i in range(6)]
    chain = (Decode(), Resize(size=8), RandomCrop(size=6, padding=1), RandomFlip())

    class Encoded:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return {"image": images[index]}

    dataset = grain.MapDataset.source(Encoded()).seed(1)
    for transform in chain:
        dataset = (
            dataset.random_map(transform)
            if isinstance(transform, grain.transforms.RandomMap)
            else dataset.map(transform)
        )
    batch = Pipeline(source=Encoded(), batch_size=6, transforms=chain, shuffle=False)[0]
    assert batch["image"].shape == (6, 6, 6, 3)
    for i in range(6):
        assert dataset[i]["image"].max() == batch["image"][i].max() == i


def test_a_source_of_arrays_can_be_transformed():
    source = ArraySource(arrays={"image": np.stack([IMAGE] * 3)})
    assert Pipeline(source=source, batch_size=2, transforms=(CenterCrop(size=4),))[0]["image"].shape == (2, 4, 4, 3)
