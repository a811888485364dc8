"""The weighted mean as a pair of sums, and the addition of metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.types import Array, PyTree


class Mean(struct.PyTreeNode):
    """A weighted mean, kept as numerator and denominator (both scalar float32)."""

    total: Array
    weight: Array

    @classmethod
    def of(cls, values: Any, weight: Any = None) -> "Mean":
        """The mean of `values` (any shape); `weight` broadcasts from the left, so a mask (B,) fits values (B, ...).

        A value whose weight is zero never counts, even when it is NaN or infinite.

        >>> float(Mean.of(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0])).compute())
        2.0
        """
        values = jnp.asarray(values, jnp.float32)
        weight = jnp.ones(values.shape, jnp.float32) if weight is None else jnp.asarray(weight, jnp.float32)
        weight = jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)
        return cls(total=jnp.sum(jnp.where(weight == 0, 0.0, values * weight)), weight=jnp.sum(weight))

    def compute(self) -> Array:
        """The mean; NaN when nothing was counted. Of NumPy sums it is a NumPy number, and no device is asked."""
        xp = np if isinstance(self.total, np.ndarray | np.generic) else jnp
        return xp.where(self.weight == 0, xp.nan, self.total / xp.where(self.weight == 0, 1.0, self.weight))


def add(a: PyTree, b: PyTree) -> PyTree:
    """Merges two metrics, or two trees of metrics, by adding their sums."""
    return jax.tree.map(lambda x, y: x + y, a, b)
