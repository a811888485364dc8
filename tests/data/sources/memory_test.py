import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, in_memory
from jaxdl.data.transforms import RandomFlip, Resize
from jaxdl.errors import DataError


class Lazy:
    labels = ("even", "odd")

    def __init__(self, size=10, bad=()):
        self.size, self.bad = size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError("gone")
        return {"image": np.full((4, 4, 1), index, np.uint8), "label": np.int32(index % 2)}


@pytest.mark.parametrize("threads", [1, 3])
def test_keeps_everything_in_order(threads):
    source = in_memory(source=Lazy(), transforms=(Resize(size=2),), threads=threads)
    assert isinstance(source, ArraySource)
    assert source.arrays["image"].shape == (10, 2, 2, 1)
    assert (source.arrays["image"][:, 0, 0, 0] == np.arange(10)).all()
    assert source.labels == ("even", "odd")
    assert Pipeline(source=source, batch_size=4)[0]["label"].shape == (4,)


def test_bad_examples():
    with pytest.raises(DataError, match="example 3 of Lazy: reading failed with OSError: gone"):
        in_memory(source=Lazy(bad=(3, 7)))
    assert in_memory(source=Lazy(bad=(0, 7)), on_bad="skip").arrays["image"][:, 0, 0, 0].tolist() == [
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        9,
    ]
    with pytest.raises(DataError, match="None of the first 10"):
        in_memory(source=Lazy(bad=range(10)), on_bad="skip")


def test_refuses_random_transforms_and_empty_sources():
    with pytest.raises(ValueError, match=r"RandomFlip.*Pipeline"):
        in_memory(source=Lazy(), transforms=(RandomFlip(),))
    with pytest.raises(DataError, match="Lazy has no examples"):
        in_memory(source=Lazy(size=0))
    with pytest.raises(ValueError, match="drop"):
        in_memory(source=Lazy(), on_bad="drop")
