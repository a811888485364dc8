"""Confidence intervals of a mean and of a proportion, on the host."""

import math
import statistics

import numpy as np


def bootstrap_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    num_samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a weighted mean (Efron 1979), from one value per example.

    >>> bootstrap_interval(np.full(50, 3.0))
    (3.0, 3.0)

    Args:
      values: One number per example (N,).
      weights: Weight of each example; those of weight zero, such as padding, are left out before drawing.
      confidence: Share of the distribution inside the interval.
      num_samples: How many times the examples are drawn again.
      seed: The same seed gives the same interval.

    Raises:
      ValueError: no example counts, or `confidence` is not in (0, 1).
    """
    values = np.asarray(values, np.float64).ravel()
    weights = np.ones_like(values) if weights is None else np.asarray(weights, np.float64).ravel()
    values, weights = values[weights != 0], weights[weights != 0]
    if not len(values):
        raise ValueError("A bootstrap interval needs at least one example whose weight is not zero.")
    tail = _tail(confidence)
    random = np.random.default_rng(seed)
    means = np.empty(num_samples)
    for index in range(num_samples):  # One draw at a time: all at once would take num_samples * N numbers of memory.
        rows = random.integers(0, len(values), len(values))
        means[index] = np.average(values[rows], weights=weights[rows])
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def wilson_interval(successes: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), sound also near 0 and 1 and for few trials.

    >>> tuple(round(bound, 4) for bound in wilson_interval(9, 10))
    (0.5958, 0.9821)

    Raises:
      ValueError: there are no trials, more successes than trials, or `confidence` is not in (0, 1).
    """
    if not (trials > 0 and 0 <= successes <= trials):
        raise ValueError(f"successes must be within [0, trials] and trials positive, not {successes} of {trials}.")
    z = statistics.NormalDist().inv_cdf(1 - _tail(confidence))
    share, z2 = successes / trials, z * z / trials
    centre = (share + z2 / 2) / (1 + z2)
    margin = z / (1 + z2) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, not {confidence}.")
    return (1 - confidence) / 2
