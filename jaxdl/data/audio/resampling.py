"""Sound at another rate."""

import numpy as np


def resample(samples: np.ndarray, *, rate: int, to: int) -> np.ndarray:
    """Samples at `to` a second instead of `rate`, float32 (ceil(N * to / rate),).

    What is above half the lower of the two rates is filtered away (a Kaiser window of 20 zero crossings), so that
    nothing is folded back into the band.

    >>> resample(np.ones(6, np.float32), rate=8000, to=8000).shape, resample(np.ones(6), rate=8000, to=4000).shape
    ((6,), (3,))

    Args:
      samples: One channel (N,).
      rate: Of `samples`.
      to: Of the result.

    Raises:
      ValueError: a rate is not positive, or the samples are not of one channel.
    """
    samples = np.asarray(samples, np.float32)
    if rate < 1 or to < 1 or samples.ndim != 1:
        raise ValueError(f"Samples (N,) and positive rates are needed, not {samples.shape}, {rate} and {to}.")
    if rate == to:
        return samples
    from scipy.signal import resample_poly  # Slow to import.

    return resample_poly(samples, to, rate).astype(np.float32)
