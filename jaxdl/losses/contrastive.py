"""Losses that compare the pairs of a batch with one another. Letters: B batch, E features."""

import jax
import jax.numpy as jnp

from jaxdl.types import Array


def info_nce(
    first_BE: Array,
    second_BE: Array,
    *,
    scale: Array | float = 1.0,
    mask: Array | None = None,
    same: Array | None = None,
) -> jax.Array:
    """Symmetric InfoNCE of each pair `(first[i], second[i])` against the batch, (B,) float32.

    The mean of two cross-entropies over the logits `scale * first @ second.T` (Radford et al. 2021, figure 3): to find
    the second of a pair among all seconds, and the first among all firsts. Where more than one answer is right, each
    is as likely as the others (Khosla et al. 2020, equation 2; Yang et al. 2022, "Unified Contrastive Learning").
    The vectors are taken as they are: give them length 1 for cosines.

    >>> info_nce(jnp.eye(2), jnp.eye(2), scale=2.0)
    Array([0.12692809, 0.12692809], dtype=float32)

    Args:
      first_BE: Such as the vectors of images.
      second_BE: Such as the vectors of their captions.
      scale: One over the temperature, a number.
      mask: (B,), 0 for rows of padding: they are no answer for any row, and their own loss is 0.
      same: Which pairs belong together: ids (B,) of an integer type, equal where they do; or (B, B), whose row `i`
        says which seconds are right for the first `i`. A row always belongs to itself. None for distinct pairs.

    Raises:
      ValueError: the shapes do not belong together.
    """
    first_BE, second_BE = jnp.asarray(first_BE, jnp.float32), jnp.asarray(second_BE, jnp.float32)
    if first_BE.ndim != 2 or first_BE.shape != second_BE.shape:
        raise ValueError(f"Both vectors must have one shape (B, E), not {first_BE.shape} and {second_BE.shape}.")
    size = len(first_BE)
    real_B = jnp.ones(size, bool) if mask is None else jnp.asarray(mask) != 0
    if real_B.shape != (size,):
        raise ValueError(f"mask must have the shape {(size,)}, not {real_B.shape}.")
    # What stands in padding may be NaN. A row of padding sees itself, so that no row sees nothing.
    first_BE, second_BE = (jnp.where(real_B[:, None], vectors, 0) for vectors in (first_BE, second_BE))
    itself_BB = jnp.eye(size, dtype=bool)
    right_BB = (_same(same, size) & real_B[:, None] & real_B[None]) | itself_BB
    logits_BB = jnp.asarray(scale, jnp.float32) * (first_BE @ second_BE.T)
    there_BB = real_B[None] | itself_BB
    loss_B = (_cost(logits_BB, right_BB, there_BB) + _cost(logits_BB.T, right_BB.T, there_BB)) / 2
    return jnp.where(real_B, loss_B, 0)


def _cost(logits_BB: jax.Array, right_BB: jax.Array, there_BB: jax.Array) -> jax.Array:
    """Cross-entropy of each row over the columns that are there, against the right ones in equal shares."""
    total_B = jax.nn.logsumexp(logits_BB, axis=1, where=there_BB)
    return total_B - jnp.sum(jnp.where(right_BB, logits_BB, 0), axis=1) / jnp.sum(right_BB, axis=1)


def _same(same: Array | None, size: int) -> jax.Array:
    if same is None:
        return jnp.zeros((size, size), bool)
    same = jnp.asarray(same)
    if same.shape == (size,) and jnp.issubdtype(same.dtype, jnp.integer):
        return same[:, None] == same[None]
    if same.shape == (size, size):
        return same != 0
    raise ValueError(
        f"same must be ids {(size,)} of an integer type or a matrix {(size, size)}, not {same.dtype} {same.shape}."
    )
