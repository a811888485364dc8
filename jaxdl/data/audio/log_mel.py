"""Log-mel spectra. Letters: N samples, T frames, K frequencies, M mel bands."""

import dataclasses
import functools
import math

import numpy as np

_LEAST = 1e-10
_BLOCK = 4096  # Frames that are in memory at once with all their samples.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMel:
    """The logarithm of the power in bands of the mel scale, frame by frame, scaled as Whisper's are.

    Radford et al. 2022, section 2.2, and their code: Hann windows around every `hop`-th sample, the first around
    sample 0; mel bands of Slaney's scale, each of area one; log10, with what is more than `decades` below the loudest
    band of the recording raised to that; plus 4, divided by 4. The defaults are Whisper's. For speech at 8 kHz take
    rate=8000, window=256 and hop=80.

    Attributes:
      rate: Samples a second.
      window: Samples under a window, and the length of its Fourier transform.
      hop: Samples from one frame to the next.
      num_mels: M.
      lowest: Where the first band begins, in Hz.
      highest: Where the last band ends, in Hz; None for half the rate.
      decades: The range that is kept, in powers of ten.
      relative: Whether powers are relative to the loudest band of the recording, so that it does not matter how loud
        that is; Whisper's are not.

    Raises:
      ValueError: a value is out of its range, or a band is so narrow that no frequency falls into it.
    """

    rate: int = 16_000
    window: int = 400
    hop: int = 160
    num_mels: int = 80
    lowest: float = 0.0
    highest: float | None = None
    decades: float = 8.0
    relative: bool = False

    def __post_init__(self) -> None:
        if self.window < 2 or not 1 <= self.hop <= self.window or self.num_mels < 1 or self.rate < 1:
            raise ValueError(
                f"window must be at least 2, hop in [1, window], and num_mels and rate positive, not {self.window}, "
                f"{self.hop}, {self.num_mels} and {self.rate}."
            )
        if not 0 <= self.lowest < self._highest <= self.rate / 2 or self.decades <= 0:
            raise ValueError(
                f"0 <= lowest < highest <= {self.rate / 2} (half the rate) and decades > 0 are needed, not "
                f"{self.lowest}, {self._highest} and {self.decades}."
            )
        if empty := int((self.filters.max(axis=0) == 0).sum()):
            raise ValueError(
                f"{empty} of {self.num_mels} mel bands hold no frequency: take a longer window than {self.window} or "
                "fewer bands."
            )

    @property
    def _highest(self) -> float:
        return self.rate / 2 if self.highest is None else self.highest

    @functools.cached_property
    def filters(self) -> np.ndarray:
        """The weight of each frequency in each band, float32 (K, M)."""
        low, high = _mels(self.lowest), _mels(self._highest)
        edges = _hertz(np.linspace(low, high, self.num_mels + 2))
        frequencies = np.linspace(0, self.rate / 2, self.window // 2 + 1)[:, None]
        if self.window % 2:
            frequencies = frequencies * (self.window - 1) / self.window  # The last one is below half the rate.
        rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
        weights = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
        return weights.astype(np.float32)

    def frames(self, samples: int) -> int:
        """The number of frames that hear any of so many samples."""
        return math.ceil((samples + self.window // 2) / self.hop)

    def __call__(self, samples: np.ndarray, *, frames: int | None = None) -> np.ndarray:
        """Maps one channel (N,) at `rate` to float32 (T, M).

        Args:
          samples: In [-1, 1].
          frames: T, with silence behind the samples or with those left out that do not fit; None for
            `self.frames(N)`. More frames change nothing in those before.

        Raises:
          ValueError: the samples are not of one channel, or there are none.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1 or not len(samples):
            raise ValueError(f"A spectrum needs samples of one channel (N,), not {samples.shape}.")
        frames = self.frames(len(samples)) if frames is None else frames
        samples = samples[: frames * self.hop]
        samples = np.pad(samples, (0, frames * self.hop - len(samples)))
        samples = np.pad(samples, self.window // 2, mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(samples, self.window)[:: self.hop][:frames]
        parts = [self._power(views[first : first + _BLOCK]) for first in range(0, frames, _BLOCK)]
        power = np.concatenate(parts)
        if self.relative and power.max() > 0:
            power = power / power.max()
        logs = np.log10(np.maximum(power, np.float32(_LEAST)))
        return (np.maximum(logs, logs.max() - np.float32(self.decades)) + 4) / 4

    def silence(self, features: np.ndarray) -> float:
        """What silence behind the features (T, M) of a recording looks like: the same in all bands."""
        return max((math.log10(_LEAST) + 4) / 4, float(features.max()) - self.decades / 4)

    def _power(self, views: np.ndarray) -> np.ndarray:
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        spectra = np.fft.rfft(views * hann.astype(np.float32), axis=-1)
        return (np.abs(spectra) ** 2).astype(np.float32) @ self.filters


def _mels(hertz: float) -> float:
    """Slaney's mel scale: even to 1000 Hz, logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))
