import numpy as np
import pytest
from scipy import stats

from jaxdl.metrics.interval import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (9, 10), (431, 500)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_equals_scipy(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, trials, confidence=confidence), expected, atol=1e-12)


def test_bootstrap_of_many_values_is_the_normal_interval():
    values = np.random.default_rng(1).normal(2, 3, 2000)
    error = 1.96 * values.std() / np.sqrt(2000)
    np.testing.assert_allclose(bootstrap_interval(values), values.mean() + np.array([-error, error]), atol=0.02)


def test_bootstrap_leaves_padding_out_and_honours_weights():
    values = np.random.default_rng(1).normal(size=40)
    padded, mask = np.r_[values, np.full(9, np.nan)], np.r_[np.ones(40), np.zeros(9)]
    assert bootstrap_interval(padded, mask) == bootstrap_interval(values)
    low, high = bootstrap_interval(np.r_[np.zeros(50), np.ones(50)], np.r_[np.full(50, 3.0), np.ones(50)])
    assert low < 0.25 < high < 0.5


def test_bootstrap_depends_on_the_seed_alone():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(np.ones(2), np.zeros(2)), "at least one example"),
        (lambda: bootstrap_interval(np.ones(2), confidence=95), "not 95"),
        (lambda: wilson_interval(1, 0), "1 of 0"),
        (lambda: wilson_interval(3, 2), "3 of 2"),
    ],
)
def test_impossible_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
