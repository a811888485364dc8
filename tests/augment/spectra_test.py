import jax
import numpy as np
import pytest

from jaxdl.augment import MaskSpectra

MASK = MaskSpectra(bands=1, widest_band=4, times=1, widest_time=6, share=0.5)


def batch(rows=200, frames=20, num_mels=10, seed=0):
    random = np.random.default_rng(seed)
    return {
        "mel": random.normal(size=(rows, frames, num_mels)).astype(np.float32),
        "lengths": random.integers(1, frames + 1, rows).astype(np.int32),
    }


def hidden_in(data, mask, seed=0):
    found = jax.jit(mask)(jax.random.key(seed), data)
    return np.asarray(found["mel"]), np.asarray(found["mel"]) != data["mel"]


def width(marks):
    """Of the stripe that the marks make; they must have no gap."""
    places = np.flatnonzero(marks)
    assert not len(places) or places[-1] - places[0] + 1 == len(places)
    return len(places)


def test_stripes_are_as_wide_as_they_may_be():
    data = batch()
    only_bands = MaskSpectra(bands=1, widest_band=4, times=0)
    only_times = MaskSpectra(bands=0, times=1, widest_time=6, share=0.5)
    _, bands = hidden_in(data, only_bands)
    _, times = hidden_in(data, only_times)
    widths = [width(row[0]) for row in bands]
    assert set(widths) == {0, 1, 2, 3, 4}
    assert np.bincount(widths).min() > 20  # A fifth of 200 each.
    assert {int(np.flatnonzero(row[0])[0]) for row in bands if row.any()} >= {0, 9}
    for row, length in zip(times, data["lengths"]):
        assert width(row.all(axis=1)) <= min(6, length // 2)
        assert (row.any(axis=1) == row.all(axis=1)).all()
    assert max(width(row.all(axis=1)) for row in times) == 6


def test_what_is_hidden_is_the_mean_and_padding_stays():
    data = batch()
    found, hidden = hidden_in(data, MASK)
    for row in range(len(found)):
        length = data["lengths"][row]
        assert not hidden[row, length:].any()
        mean = data["mel"][row, :length].mean()
        np.testing.assert_allclose(found[row][hidden[row]], mean, atol=1e-5)


def test_a_row_is_its_own_affair():
    data = batch(8)
    whole, _ = hidden_in(data, MASK)
    half, _ = hidden_in({name: value[:4] for name, value in data.items()}, MASK)
    np.testing.assert_allclose(half, whole[:4], atol=1e-6)
    other, _ = hidden_in(data, MASK, seed=1)
    assert (other != whole).any()


def test_no_stripe_changes_nothing():
    _, hidden = hidden_in(batch(), MaskSpectra(bands=0, times=0))
    assert not hidden.any()


@pytest.mark.parametrize("changes", [{"bands": -1}, {"widest_time": -1}, {"share": 1.5}])
def test_what_makes_no_sense_is_refused(changes):
    with pytest.raises(ValueError, match="must not be negative"):
        MaskSpectra(**changes)
