import numpy as np
import pytest

from jaxdl.data.audio import resample


def tone(hertz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("rate", "to"), [(8000, 16_000), (44_100, 16_000), (48_000, 8000), (22_050, 16_000)])
def test_a_tone_stays_the_same_tone(rate, to):
    found, expected = resample(tone(500, rate), rate=rate, to=to), tone(500, to)
    assert found.dtype == np.float32
    assert len(found) == -(-len(tone(500, rate)) * to // rate)
    inside = slice(len(expected) // 10, -len(expected) // 10)  # Filters ring at the ends.
    np.testing.assert_allclose(found[inside], expected[: len(found)][inside], atol=5e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_away():
    found = resample(tone(6000, 16_000), rate=16_000, to=8000)
    assert np.abs(found[400:-400]).max() < 5e-3
    assert np.abs(tone(6000, 16_000)[::2]).max() > 0.9  # Without a filter it would be a tone of 2 kHz.


def test_one_rate_changes_nothing():
    samples = tone(100, 8000)
    assert resample(samples, rate=8000, to=8000) is samples


def test_what_makes_no_sense_is_refused():
    for samples, rate in ((np.zeros((3, 2)), 8000), (np.zeros(3), 0)):
        with pytest.raises(ValueError, match="positive rates"):
            resample(samples, rate=rate, to=8000)
