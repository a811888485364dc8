"""Pooling over the two spatial axes of channels-last images (B, h, w, D), and over the tokens of texts (B, T, D)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Padding = Literal["SAME", "VALID"] | tuple[tuple[int, int], tuple[int, int]]


def max_pool(
    x_BhwD: jax.Array, window: tuple[int, int], strides: tuple[int, int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """The maximum of each window; `strides` is `window` unless given.

    Windows that neither overlap nor pad are a reshape and a maximum, whose gradient is several times cheaper on CPU
    than that of the windowed reduction. There, equal maxima share the gradient; elsewhere the first one takes it.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2)).ravel()
    Array([ 5.,  7., 13., 15.], dtype=float32)
    """
    strides = window if strides is None else strides
    if _tiles(window, strides, padding):
        return jnp.max(_windows(x_BhwD, window), axis=(2, 4))
    lowest = -jnp.inf if jnp.issubdtype(x_BhwD.dtype, jnp.floating) else jnp.iinfo(x_BhwD.dtype).min
    # A scalar of numpy's own type keeps the reduction the differentiable max, not a generic one.
    return lax.reduce_window(
        x_BhwD, x_BhwD.dtype.type(lowest), lax.max, (1, *window, 1), (1, *strides, 1), _padding(padding)
    )


def avg_pool(
    x_BhwD: jax.Array, window: tuple[int, int], strides: tuple[int, int] | None = None, padding: Padding = "VALID"
) -> jax.Array:
    """The mean of each window, in which padding counts as zeros; `strides` is `window` unless given.

    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2)).ravel()
    Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """
    strides = window if strides is None else strides
    if _tiles(window, strides, padding):
        return jnp.mean(_windows(x_BhwD, window), axis=(2, 4))
    zero = x_BhwD.dtype.type(0)
    total = lax.reduce_window(x_BhwD, zero, lax.add, (1, *window, 1), (1, *strides, 1), _padding(padding))
    return total / (window[0] * window[1])


def global_average_pool(x: jax.Array) -> jax.Array:
    """The mean over all axes between the first and the last: `(B, ..., D) -> (B, D)`."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def pool_tokens(x_BTD: jax.Array, token_mask: jax.Array | None, pooling: Literal["mean", "max"]) -> jax.Array:
    """The mean or maximum (B, D) over the real tokens; zeros for rows without any.

    >>> pool_tokens(jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([[1, 1, 0]]), "mean")
    Array([[2.]], dtype=float32)

    Args:
      x_BTD: Features of tokens.
      token_mask: (B, T), not zero where a token is real; None where all are.
      pooling: "mean" or "max".
    """
    real_BT1 = jnp.ones(x_BTD.shape[:2], bool)[..., None] if token_mask is None else (token_mask != 0)[..., None]
    if pooling == "max":
        highest = jnp.where(real_BT1, x_BTD, jnp.finfo(x_BTD.dtype).min).max(axis=1)
        return jnp.where(real_BT1.any(axis=1), highest, 0)
    total = jnp.where(real_BT1, x_BTD, 0).sum(axis=1, dtype=jnp.float32)
    return (total / jnp.maximum(real_BT1.sum(axis=1), 1)).astype(x_BTD.dtype)


def _tiles(window: tuple[int, int], strides: tuple[int, int], padding: Padding) -> bool:
    return tuple(window) == tuple(strides) and padding == "VALID"


def _windows(x_BhwD: jax.Array, window: tuple[int, int]) -> jax.Array:
    batch, height, width, channels = x_BhwD.shape
    rows, columns = height // window[0], width // window[1]
    if 0 in (rows, columns):
        raise ValueError(f"The pooling window {window} is larger than the image {(height, width)}.")
    whole = x_BhwD[:, : rows * window[0], : columns * window[1]]
    return whole.reshape(batch, rows, window[0], columns, window[1], channels)


def _padding(padding: Padding) -> str | tuple[tuple[int, int], ...]:
    return padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))
