"""Penalties on the size of the parameters."""

import jax
import jax.numpy as jnp

from jaxdl.trees import Rules, assign
from jaxdl.types import PyTree

KERNELS: Rules = ((r"(.*/)?kernel", 1.0), (".*", 0.0))
"""Penalise the kernels alone: neither biases nor the scales of normalization."""


def parameter_penalty(params: PyTree, *, l1: float = 0.0, l2: float = 0.0, rules: Rules = KERNELS) -> jax.Array:
    """`l1 * sum |w| + l2 / 2 * sum w ** 2` over the parameters, a float32 scalar.

    The half makes the gradient `l2 * w`, that of an optimizer's coupled weight decay.

    >>> parameter_penalty({"kernel": jnp.array([3.0, -4.0])}, l1=1.0, l2=2.0)
    Array(32., dtype=float32)

    Args:
      params: The parameters.
      l1: Coefficient of the absolute values.
      l2: Coefficient of the squares.
      rules: `((regex over parameter names, factor), ...)`; every parameter must be covered.
    """

    def leaf_penalty(leaf: jax.Array, factor: float) -> jax.Array:
        leaf = leaf.astype(jnp.float32)
        return factor * (l1 * jnp.sum(jnp.abs(leaf)) + l2 / 2 * jnp.sum(jnp.square(leaf)))

    factors = assign(rules, params, what="penalty")
    return sum(jax.tree.leaves(jax.tree.map(leaf_penalty, params, factors)), jnp.zeros((), jnp.float32))
