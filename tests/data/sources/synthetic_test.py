import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import Synthetic
from jaxdl.data.sources.synthetic import Field

FIELDS = {
    "image": Field(dtype="uint8", shape=(4, 4, 3)),
    "label": Field(dtype="int32", high=10),
    "weight": Field(dtype="float32", shape=(2,), low=-1, high=1),
    "one": Field(dtype="float32", low=1, high=1),
}


def test_examples_depend_on_seed_and_index_alone():
    source = Synthetic(count=50, fields=FIELDS)
    for name, array in source[7].items():
        np.testing.assert_array_equal(array, source[7][name])
    assert (source[7]["image"] != source[8]["image"]).any()
    assert (source[7]["image"] != Synthetic(count=50, fields=FIELDS, seed=1)[7]["image"]).any()


def test_numbers_are_within_their_bounds_and_fill_them():
    source = Synthetic(count=300, fields=FIELDS)
    batch = Pipeline(source=source, batch_size=300)[0]
    assert batch["image"].shape == (300, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    assert set(np.unique(batch["image"])) == set(range(256))
    assert set(batch["label"]) == set(range(10))
    assert -1 <= batch["weight"].min() < -0.9
    assert 0.9 < batch["weight"].max() < 1
    assert (batch["one"] == 1).all()


def test_bad_fields_are_told():
    with pytest.raises(ValueError, match="numbers, not object"):
        Field(dtype="object")
    with pytest.raises(ValueError, match="low=3 is above high=2"):
        Field(dtype="int32", low=3, high=2)
    with pytest.raises(ValueError, match="0 of 4"):
        Synthetic(count=0, fields=FIELDS)
    with pytest.raises(IndexError, match="no example 9 of 9"):
        Synthetic(count=9, fields=FIELDS)[9]
