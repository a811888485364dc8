"""Where a token stands. Letters: B batch, T queries, S keys, H heads, K features of a head, D features."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021): pairs of features turn by an angle that grows with the position.

    Attributes:
      base: The wavelengths run from 2 pi to 2 pi `base`.
      fraction: Share of a head's features that turn; the rest stays.
      interleaved: Whether a pair is two neighbours, as in the paper, or a feature of the first half with one of the
        second, as in Llama.
      factor: Positions are divided by it (Chen et al. 2023), where `original_length` is None throughout, else only
        at wavelengths beyond the original length (the rule of Llama 3.1).
      original_length: Length that the model was first trained at, for that rule.
      low_frequency: Wavelengths above `original_length / low_frequency` are stretched by `factor`;
      high_frequency: those below `original_length / high_frequency` stay; between them it is interpolated.
    """

    base: float = 10_000.0
    fraction: float = 1.0
    interleaved: bool = False
    factor: float = 1.0
    original_length: int | None = None
    low_frequency: float = 1.0
    high_frequency: float = 4.0

    def frequencies(self, width: int) -> np.ndarray:
        """Radians per position of each pair, float64 (width / 2,)."""
        plain = self.base ** (-np.arange(0, width, 2) / width)
        if self.original_length is None:
            return plain / self.factor
        turns = self.original_length * plain / (2 * math.pi)
        kept = np.clip((turns - self.low_frequency) / (self.high_frequency - self.low_frequency), 0, 1)
        return plain * (kept + (1 - kept) / self.factor)


def rotate(rotary: Rotary, x_BTHK: jax.Array, positions_BT: jax.Array) -> jax.Array:
    """Turns the features of (B, T, H, K) by their positions (B, T) or (1, T), in float32."""
    width = int(x_BTHK.shape[-1] * rotary.fraction)
    if width % 2:
        raise ValueError(f"A rotary embedding needs an even number of features, not {width}.")
    frequencies = jnp.asarray(rotary.frequencies(width), jnp.float32)
    angles = (positions_BT.astype(jnp.float32)[..., None] * frequencies[None, None])[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turning, rest = x_BTHK[..., :width].astype(jnp.float32), x_BTHK[..., width:]
    if rotary.interleaved:
        left, right = turning[..., 0::2], turning[..., 1::2]
        turned = jnp.stack((left * cos - right * sin, right * cos + left * sin), axis=-1).reshape(turning.shape)
    else:
        left, right = jnp.split(turning, 2, axis=-1)
        turned = jnp.concatenate((left * cos - right * sin, right * cos + left * sin), axis=-1)
    return jnp.concatenate((turned.astype(x_BTHK.dtype), rest), axis=-1)


def sinusoids(length: int, features: int, *, base: float = 10_000.0, interleaved: bool = True) -> np.ndarray:
    """Sines and cosines of the positions, float32 (length, features).

    Vaswani et al. 2017, section 3.5. Interleaved, feature 2 i is the sine and 2 i + 1 the cosine, as in the paper;
    otherwise all sines come first and the wavelengths end at 2 pi `base`, as in Whisper (Radford et al. 2022).
    """
    half = features // 2
    if features % 2 or (not interleaved and half < 2):
        least = "" if interleaved else ", at least 4"
        raise ValueError(f"Sinusoids come in pairs: give an even number of features{least}, not {features}.")
    steps = np.arange(half) / (half if interleaved else half - 1)
    angles = np.arange(length)[:, None] * base**-steps
    both = np.stack((np.sin(angles), np.cos(angles)), axis=-1 if interleaved else 1)
    return both.reshape(length, features).astype(np.float32)


def alibi_slopes(num_heads: int) -> np.ndarray:
    """The slope of each head, float32 (H,): Press et al. 2022, section 3.

    >>> alibi_slopes(2)
    array([0.0625    , 0.00390625], dtype=float32)
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    # Where H is no power of two, every other slope of the next one fills up.
    slopes += [2.0 ** (-4 * (i + 1) / power) for i in range(0, 2 * (num_heads - power), 2)]
    return np.asarray(slopes, np.float32)


def alibi_bias(num_heads: int, queries_BT: jax.Array, keys_BS: jax.Array) -> jax.Array:
    """Minus the distance times the slope of each head: (B, H, T, S)."""
    distance = jnp.abs(queries_BT[:, :, None] - keys_BS[:, None, :]).astype(jnp.float32)
    return -jnp.asarray(alibi_slopes(num_heads))[None, :, None, None] * distance[:, None]


class RelativeBias(nn.Module):
    """A learned bias per head and bucket of distances (Raffel et al. 2020, section 2.1). Parameter: (buckets, H).

    Attributes:
      num_heads: H.
      num_buckets: Half of them hold one distance each, the others grow logarithmically.
      max_distance: All distances from here on share the last bucket.
      bidirectional: Whether keys ahead have buckets of their own; otherwise they count as distance 0.
      embedding_init: Initializer of the table.
    """

    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    embedding_init: initializers.Initializer = initializers.normal(1.0)

    @nn.compact
    def __call__(self, queries_BT: jax.Array, keys_BS: jax.Array) -> jax.Array:
        """Maps positions (B, T) and (B, S) to a bias (B, H, T, S)."""
        table = self.param("embedding", self.embedding_init, (self.num_buckets, self.num_heads), jnp.float32)
        return jnp.moveaxis(table[self.bucket(keys_BS[:, None, :] - queries_BT[:, :, None])], -1, 1)

    def bucket(self, ahead: jax.Array) -> jax.Array:
        """The bucket of a relative position, key minus query."""
        buckets, offset = self.num_buckets, jnp.zeros_like(ahead)
        distance = jnp.maximum(-ahead, 0)
        if self.bidirectional:
            buckets //= 2
            offset = jnp.where(ahead > 0, buckets, 0)
            distance = jnp.abs(ahead)
        exact = buckets // 2
        growth = (buckets - exact) / math.log(self.max_distance / exact)
        # Where the distance is below `exact` the logarithm is not used; at least 1 keeps it finite.
        far = exact + (jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) * growth).astype(jnp.int32)
        return offset + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))
