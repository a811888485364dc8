import numpy as np
import pytest

from jaxdl.data.sources import ArraySource
from jaxdl.errors import DataError


def test_rows_and_names():
    source = ArraySource(arrays={"x": np.arange(6).reshape(3, 2), "y": np.arange(3.0)}, labels=("a",), name="mine")
    assert len(source) == 3
    assert source[1]["x"].tolist() == [2, 3]
    assert source.gather(np.array([2, 0, 2]))["y"].tolist() == [2, 0, 2]
    assert source.describe(2) == "mine, example 2"
    assert source.labels == ("a",)


def test_gather_gives_new_arrays():
    x = np.zeros(3)
    ArraySource(arrays={"x": x}).gather(np.arange(3))["x"][:] = 1
    assert x.sum() == 0


def test_memory_maps_stay_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10))
    source = ArraySource(arrays={"x": np.load(tmp_path / "x.npy", mmap_mode="r")})
    assert isinstance(source.arrays["x"], np.memmap)
    assert source.gather(np.array([3]))["x"].tolist() == [3]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no arrays"),
        ({"x": np.zeros((0, 2))}, "0 rows"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "x 3, y 4"),
        ({"x": np.float32(3)}, "'x' is a scalar"),
        ({"x": np.array(["a", "b"])}, "'x' holds <U1, not numbers"),
        ({"x": np.array([[1], [2, 3]], dtype=object)}, "'x' holds object"),
    ],
)
def test_refuses_what_is_no_table(arrays, message):
    with pytest.raises(DataError, match=message):
        ArraySource(arrays=arrays)
