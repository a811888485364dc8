"""Spectra with holes. Letters: B batch, F frames, M mel bands, N masks."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxdl.augment.compose import row_keys
from jaxdl.types import Batch, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskSpectra:
    """Hides stripes of `mel` (B, F, M), as SpecAugment does without its warping (Park et al. 2019, section 2).

    Each stripe is of a width drawn evenly from 0 to the widest, at a place drawn evenly, and is filled with the mean
    of the row's real frames. Stripes may overlap. Frames beyond the `lengths` (B,) of a row stay as they are.

    Attributes:
      bands: Stripes of neighbouring bands.
      widest_band: The most bands of a stripe.
      times: Stripes of neighbouring frames.
      widest_time: The most frames of a stripe.
      share: The most frames of a stripe as a share of those of the row.
    """

    bands: int = 2
    widest_band: int = 27
    times: int = 2
    widest_time: int = 100
    share: float = 0.2

    def __post_init__(self) -> None:
        if min(self.bands, self.widest_band, self.times, self.widest_time) < 0 or not 0 <= self.share <= 1:
            raise ValueError(
                "The numbers of stripes and their widths must not be negative, and share must be in [0, 1], not "
                f"{self.bands}, {self.widest_band}, {self.times}, {self.widest_time} and {self.share}."
            )

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """The batch with stripes of `mel` hidden."""
        mel, lengths_B = jnp.asarray(batch["mel"]), jnp.asarray(batch["lengths"])
        rows, frames, num_mels = mel.shape
        keys_B = row_keys(key, rows)
        band_keys_B, time_keys_B = (jax.vmap(jax.random.fold_in, (0, None))(keys_B, number) for number in (0, 1))
        widest_B = jnp.minimum(self.widest_time, (self.share * lengths_B).astype(jnp.int32))
        stripes = jax.vmap(_stripes, (0, None, None, 0, 0))
        bands_B = jnp.full(rows, num_mels, jnp.int32)
        most_B = jnp.full(rows, min(self.widest_band, num_mels), jnp.int32)
        hidden_BM = stripes(band_keys_B, self.bands, num_mels, bands_B, most_B)
        hidden_BF = stripes(time_keys_B, self.times, frames, lengths_B.astype(jnp.int32), widest_B)
        real_BF = jnp.arange(frames)[None] < lengths_B[:, None]
        hidden = (hidden_BF[:, :, None] | hidden_BM[:, None, :]) & real_BF[:, :, None]
        total_B = jnp.sum(jnp.where(real_BF[:, :, None], mel, 0), axis=(1, 2))
        mean_B = total_B / (jnp.maximum(lengths_B, 1) * num_mels)
        return {**batch, "mel": jnp.where(hidden, mean_B[:, None, None].astype(mel.dtype), mel)}


def _stripes(key: Key, count: int, size: int, length: jax.Array, widest: jax.Array) -> jax.Array:
    """Which of `size` places (size,) lie in one of `count` stripes within the first `length`."""
    widths, starts = jax.random.uniform(key, (2, count))
    widths_N = jnp.minimum((widths * (widest + 1)).astype(jnp.int32), widest)
    starts_N = (starts * (length - widths_N + 1)).astype(jnp.int32)
    places = jnp.arange(size)[None]
    return jnp.any((places >= starts_N[:, None]) & (places < (starts_N + widths_N)[:, None]), axis=0)
