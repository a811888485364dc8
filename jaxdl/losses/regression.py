"""Losses of regression, elementwise and in float32."""

import jax
import jax.numpy as jnp

from jaxdl.types import Array


def l1(predictions: Array, targets: Array) -> jax.Array:
    """The absolute error of each element.

    >>> l1(jnp.array([3.0]), jnp.array([1.0]))
    Array([2.], dtype=float32)
    """
    return jnp.abs(_error(predictions, targets))


def l2(predictions: Array, targets: Array) -> jax.Array:
    """The squared error of each element, not halved.

    >>> l2(jnp.array([3.0]), jnp.array([1.0]))
    Array([4.], dtype=float32)
    """
    return jnp.square(_error(predictions, targets))


def huber(predictions: Array, targets: Array, *, delta: float = 1.0) -> jax.Array:
    """Half the squared error up to `delta`, linear with slope `delta` beyond (Huber 1964).

    >>> huber(jnp.array([3.0]), jnp.array([1.0]))
    Array([1.5], dtype=float32)
    """
    size = l1(predictions, targets)
    near = jnp.minimum(size, delta)
    return near * (size - near / 2)


def _error(predictions: Array, targets: Array) -> jax.Array:
    predictions, targets = jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)
    if predictions.shape != targets.shape:
        raise ValueError(f"Predictions {predictions.shape} and targets {targets.shape} must have one shape.")
    return predictions - targets
