"""How the next token is chosen from its logits. Letters: B batch, V vocabulary, T tokens."""

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """Filters of logits, applied in the order of the fields, and a draw from what they leave.

    Attributes:
      repetition_penalty: Logits of tokens that occurred are divided by it where positive, multiplied where negative
        (Keskar et al. 2019); 1 for none.
      temperature: Divides the logits; 0 takes the likeliest token and reads none of the fields below.
      top_k: Only so many of the likeliest tokens stay (Fan et al. 2018); None for all.
      top_p: Only the likeliest tokens stay whose probabilities sum up to this (Holtzman et al. 2020); at least one.
      min_p: Only tokens stay that are at least so likely, as a share of the likeliest one (Nguyen et al. 2024).

    Raises:
      ValueError: a number is out of its range.
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature != 0 and not 1e-4 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0, or at least 0.0001 and finite, not {self.temperature}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}.")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise ValueError(f"top_p must be in (0, 1] and min_p in [0, 1], not {self.top_p} and {self.min_p}.")
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty must be positive and finite, not {self.repetition_penalty}.")

    def filter(self, logits_BV: jax.Array, seen_BV: jax.Array | None = None) -> jax.Array:
        """Logits (B, V) in float32 with what may not be drawn at minus infinity; `seen_BV` marks what occurred."""
        logits_BV = logits_BV.astype(jnp.float32)
        if self.repetition_penalty != 1 and seen_BV is not None:
            factor = jnp.where(logits_BV > 0, 1 / self.repetition_penalty, self.repetition_penalty)
            logits_BV = jnp.where(seen_BV, logits_BV * factor, logits_BV)
        if self.temperature == 0:
            return logits_BV
        logits_BV = logits_BV / self.temperature
        if self.top_k is not None and self.top_k < logits_BV.shape[-1]:
            least_B1 = jax.lax.top_k(logits_BV, self.top_k)[0][:, -1:]
            logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
        if self.top_p < 1:
            logits_BV = _nucleus(logits_BV, self.top_p)
        if self.min_p > 0:
            best_B1 = jnp.max(logits_BV, axis=-1, keepdims=True)
            logits_BV = jnp.where(logits_BV < best_B1 + jnp.log(self.min_p), -jnp.inf, logits_BV)
        return logits_BV

    def draw(self, key: jax.Array, logits_BV: jax.Array, seen_BV: jax.Array | None = None) -> jax.Array:
        """A token for each row, int32 (B,); `key` is one random key, or one for each row (B,)."""
        logits_BV = self.filter(logits_BV, seen_BV)
        if self.temperature == 0:
            return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
        draw = jax.random.categorical if key.ndim == 0 else jax.vmap(jax.random.categorical)
        return draw(key, logits_BV).astype(jnp.int32)


GREEDY = Sampling(temperature=0.0)
"""Always the likeliest token."""


def _nucleus(logits_BV: jax.Array, top_p: float) -> jax.Array:
    ordered = jnp.flip(jnp.sort(logits_BV, axis=-1), axis=-1)
    probabilities = jax.nn.softmax(ordered)
    # A token stays where those before it do not reach the sum yet, so the likeliest always does.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits_BV < least, -jnp.inf, logits_BV)
