import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.permutation import SHORT, permutation, permute


def test_bijective_for_every_small_size():
    for size in range(1, 2001):
        places = permute(np.arange(size), size, (7, size))
        assert (np.sort(places) == np.arange(size)).all(), size


@given(
    size=st.integers(1, 2**40),
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 2**33),
    data=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_distinct_positions_go_to_distinct_places_in_range(size, seed, epoch, data):
    positions = np.array(sorted({data.randrange(size) for _ in range(200)} | {0, size - 1}))
    places = permute(positions, size, (seed, epoch))
    assert places.dtype == np.int64
    assert len(np.unique(places)) == len(positions)
    assert places.min() >= 0
    assert places.max() < size


def test_a_position_does_not_depend_on_its_company():
    whole = permute(np.arange(1000), 1000, (1, 2))
    assert permute(np.array([999, 3]), 1000, (1, 2)).tolist() == whole[[999, 3]].tolist()
    assert (permute(np.arange(1000).reshape(10, 100), 1000, (1, 2)) == whole.reshape(10, 100)).all()


def test_values_are_fixed_for_all_time():
    assert permute(np.arange(10), 10, (0, 0)).tolist() == [3, 0, 1, 6, 7, 5, 2, 4, 8, 9]
    assert permute(np.array([0, 1, 59_999]), 60_000, (42, 3)).tolist() == [6284, 50603, 39176]


@pytest.mark.parametrize("other", [(0, 1), (1, 0), (0,), (0, 0, 0), (2**64 - 1, 0)])
def test_another_key_gives_another_order(other):
    same = permute(np.arange(500), 500, (0, 0)) == permute(np.arange(500), 500, other)
    assert same.sum() < 10


def z_score(observed, expected, freedom):
    return (((observed - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [4, 5])
def test_every_order_of_a_few_is_equally_likely(size):
    keys = 4000
    counts = collections.Counter(tuple(permute(np.arange(size), size, (2, k)).tolist()) for k in range(keys))
    observed = np.array([counts[order] for order in itertools.permutations(range(size))])
    assert abs(z_score(observed, keys / len(observed), len(observed) - 1)) < 5


@pytest.mark.parametrize("size", [50, 1437])
def test_every_position_goes_everywhere(size):
    keys, bins = 2000, 10
    counts = np.zeros((4, bins))
    positions = np.array([0, 1, size // 2, size - 1])
    for k in range(keys):
        counts[np.arange(4), permute(positions, size, (3, k)) * bins // size] += 1
    widths = np.bincount(np.arange(size) * bins // size, minlength=bins) / size
    assert abs(z_score(counts, keys * widths, 4 * (bins - 1))) < 5


@pytest.mark.parametrize("size", [1000, 60_000])
def test_no_structure_between_neighbours(size):
    statistics = []
    for k in range(10):
        places = permute(np.arange(size), size, (5, k)).astype(float)
        steps = (np.diff(places) % size).astype(int) * 50 // size
        statistics.append(z_score(np.bincount(steps, minlength=50), (size - 1) / 50, 49))
        statistics.append(np.corrcoef(places[:-1], places[1:])[0, 1] * math.sqrt(size))
        statistics.append(np.corrcoef(np.arange(size), places)[0, 1] * math.sqrt(size))
        assert (places == np.arange(size)).sum() < 8  # On average one stays in its place.
    assert np.abs(statistics).max() < 5
    assert np.abs(np.mean(statistics)) < 1


@pytest.mark.parametrize(("positions", "size"), [([0], 0), ([-1], 5), ([5], 5)])
def test_refuses_what_is_out_of_range(positions, size):
    with pytest.raises(ValueError, match=str(size)):
        permute(np.array(positions), size, (0,))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1797, 60_000])
def test_a_stored_permutation_holds_every_place_once(size):
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(permutation(size, (5, epoch))), np.arange(size))


def test_a_stored_permutation_does_not_change_between_versions():
    assert permutation(10, (0, 0)).tolist() == [5, 7, 8, 0, 6, 2, 1, 3, 9, 4]
    assert not permutation(10, (0, 0)).flags.writeable


def test_stored_permutations_are_uniform():
    counts = np.zeros((6, 6))
    for epoch in range(6000):
        counts[np.arange(6), permutation(6, (1, epoch))] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi-square with 25 degrees of freedom: p < 1e-4


@pytest.mark.parametrize("size", [0, SHORT + 1])
def test_a_stored_permutation_has_bounds(size):
    with pytest.raises(ValueError, match="between 1 and"):
        permutation(size, (0,))
