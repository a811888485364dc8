import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, Fold
from jaxdl.errors import DataError


def numbered(count, classes=3):
    labels = np.arange(count) % classes
    return ArraySource(arrays={"image": np.arange(count), "label": labels}, labels=tuple("abc"[:classes]))


class Labelled:
    labels = ("a", "b")

    def __init__(self, label_ids):
        self.label_ids = np.asarray(label_ids)

    def __len__(self):
        return len(self.label_ids)

    def __getitem__(self, index):
        return {"image": np.int64(index), "label": self.label_ids[index]}


@settings(deadline=None, max_examples=30)
@given(count=st.integers(5, 60), folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_every_example_is_tested_once_and_never_trained_on_then(count, folds, seed):
    source = numbered(count)
    tested = []
    for fold in range(folds):
        test = Fold(source=source, part="test", folds=folds, fold=fold, seed=seed)
        train = Fold(source=source, part="train", folds=folds, fold=fold, seed=seed)
        assert sorted([*test.rows, *train.rows]) == list(range(count))
        tested += [int(test[i]["image"]) for i in range(len(test))]
    assert sorted(tested) == list(range(count))


def test_known_classes_are_spread_evenly():
    label_ids = [0] * 20 + [1] * 5
    for fold in range(5):
        test = Fold(source=Labelled(label_ids), part="test", fold=fold)
        assert sorted(int(test[i]["label"]) for i in range(len(test))) == [0, 0, 0, 0, 1]


def test_the_seed_decides():
    rows = [tuple(Fold(source=numbered(40), part="test", seed=seed).rows) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_gather_and_labels_are_those_of_the_source():
    fold = Fold(source=numbered(10), part="test", folds=2)
    np.testing.assert_array_equal(fold.gather(np.array([1, 0]))["image"], fold.rows[[1, 0]])
    assert fold.labels == ("a", "b", "c")
    assert fold.describe(0) == f"arrays, example {fold.rows[0]}"
    assert not hasattr(Fold(source=Labelled([0, 1] * 5), part="test"), "gather")
    batch = Pipeline(source=fold, batch_size=5)[0]
    assert sorted(batch["image"]) == sorted(fold.rows)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fold": 5}, ValueError, "5 of 5"),
        ({"folds": 1}, ValueError, "at least 2"),
        ({"part": "val"}, ValueError, "'val'"),
        ({"folds": 30}, DataError, "10 examples cannot be split into 30"),
    ],
)
def test_what_cannot_be_split(options, error, message):
    with pytest.raises(error, match=message):
        Fold(**{"source": numbered(10), "part": "test", **options})
