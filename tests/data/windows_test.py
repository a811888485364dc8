import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Rows of the example's number, padded to the longest of a batch."""

    lengths: np.ndarray

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices, within=None):
        width = self.lengths.max() if within is None else self.lengths[within].max()
        return {"number": np.repeat(np.asarray(indices)[:, None], width, axis=1)}


def source(size, seed=0):
    return Lengths(np.random.default_rng(seed).integers(1, 40, size))


def numbers(pipeline, start, stop):
    return np.concatenate([pipeline[step]["number"][:, 0] for step in range(start, stop)])


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(4, 60),
    batch=st.integers(1, 4),
    window=st.integers(1, 20),
    seed=st.integers(0, 5),
    parts=st.just(2),
)
def test_every_epoch_holds_each_example_once(size, batch, window, seed, parts):
    batch *= parts
    if batch > size:
        return
    pipeline = Pipeline(source=source(size, seed), batch_size=batch, window=window, seed=seed)
    line = numbers(pipeline, 0, -(-3 * size // batch))
    for epoch in range(3):
        assert sorted(line[epoch * size : (epoch + 1) * size]) == list(range(size))
    # One call for many steps, and shards, give the same.
    steps = len(line) // batch
    np.testing.assert_array_equal(pipeline.indices(0, steps), line)
    halves = [dataclasses.replace(pipeline, shard=(part, parts)) for part in range(parts)]
    for step in range(steps):
        rows = [half[step]["number"] for half in halves]
        np.testing.assert_array_equal(np.concatenate(rows), pipeline[step]["number"])


def test_any_step_is_the_same_whatever_was_read_before():
    pipeline = Pipeline(source=source(500), batch_size=8, window=10, seed=3)
    late = dataclasses.replace(pipeline)[100]["number"]
    numbers(pipeline, 0, 100)
    np.testing.assert_array_equal(pipeline[100]["number"], late)


def test_batches_hold_examples_of_similar_length_in_a_random_order():
    plain = Pipeline(source=source(2000), batch_size=16)
    sorted_ = dataclasses.replace(plain, window=20)
    widths = {
        name: [one[step]["number"].shape[1] for step in range(125)]
        for name, one in {"plain": plain, "sorted": sorted_}.items()
    }
    mean = plain.source.lengths.mean()
    assert np.mean(widths["plain"]) > 1.7 * mean
    assert np.mean(widths["sorted"]) < 1.1 * mean
    # Long and short batches follow one another without order.
    assert abs(np.corrcoef(widths["sorted"][:-1], widths["sorted"][1:])[0, 1]) < 0.3
    first, second = (numbers(sorted_, start, start + 125) for start in (0, 125))
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize(
    "changes", [{"window": 0}, {"window": 2, "shuffle": False}, {"window": 2, "transforms": (dict,)}]
)
def test_what_makes_no_sense_is_refused(changes):
    with pytest.raises(ValueError, match="window"):
        Pipeline(source=source(9), batch_size=2, **changes)


def test_a_source_without_lengths_is_refused():
    with pytest.raises(ValueError, match="lengths"):
        Pipeline(source=[{"x": np.zeros(1)}] * 9, batch_size=2, window=2)
