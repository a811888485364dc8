"""Normalization layers. Letters: B batch, D channels."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

Initializer = initializers.Initializer


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe and Szegedy 2015) with statistics of the whole global batch.

    Under `jit` with a sharded batch the compiler makes the statistics global. Inside `pmap` or `shard_map` they are
    averaged over whichever of the axes in `axis_name` are bound there, so that a model needs no flag for either.

    Parameters `scale` and `bias` (D,), and running `mean` and `var` (D,) in the collection `batch_stats`: the variables
    of Flax's own layer. Statistics are float32. The running variance is that of the batch, without the n / (n - 1) that
    PyTorch applies to it. Padding counts like anything else unless a `mask` leaves it out.

    Attributes:
      momentum: What the running statistics keep of themselves at each step (PyTorch's momentum is one minus this).
      epsilon: Added to the variance.
      axis_name: Mapped axis, or axes, over which a batch may be split.
      dtype: Type of the result; None promotes the types of input and parameters.
      param_dtype: Type of the parameters.
      scale_init: Initializer of `scale`.
      bias_init: Initializer of `bias`.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | tuple[str, ...] = "data"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Initializer = initializers.ones
    bias_init: Initializer = initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Normalizes `x` (B, ..., D).

        Args:
          x: Float.
          train: Whether to use, and keep, the statistics of this batch.
          mask: Zero for what those leave out: rows (B,), or of sequences (B, T, D) frames (B, T).
        """
        shape = (x.shape[-1],)
        scale_D = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias_D = self.param("bias", self.bias_init, shape, self.param_dtype)
        running_mean_D = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var_D = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if train:
            mean_D, var_D = _moments(
                x.astype(jnp.promote_types(x.dtype, jnp.float32)), mask, bound_axes(self.axis_name)
            )
            if not self.is_initializing():
                running_mean_D.value = self.momentum * running_mean_D.value + (1 - self.momentum) * mean_D
                running_var_D.value = self.momentum * running_var_D.value + (1 - self.momentum) * var_D
        else:
            mean_D, var_D = running_mean_D.value, running_var_D.value
        dtype = self.dtype if self.dtype is not None else jnp.result_type(x, scale_D, bias_D)
        factor_D = jax.lax.rsqrt(var_D + self.epsilon) * scale_D
        y = (x - _last(mean_D, x.ndim)) * _last(factor_D, x.ndim) + _last(bias_D, x.ndim)
        return y.astype(dtype)


def bound_axes(axis_name: str | tuple[str, ...]) -> tuple[str, ...]:
    """Those of the named axes that `pmap`, `shard_map` or `vmap` has bound around the caller.

    >>> bound_axes("data")
    ()
    """
    wanted = (axis_name,) if isinstance(axis_name, str) else axis_name
    return tuple(name for name in wanted if _is_bound(name))


def _is_bound(axis_name: str) -> bool:
    try:
        jax.lax.axis_size(axis_name)
    except NameError:  # What jax raises for an axis that nothing around maps; it offers no question to ask first.
        return False
    return True


def _moments(x: jax.Array, mask: jax.Array | None, axes: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance (D,) from one pass over `x`."""
    leading = tuple(range(x.ndim - 1))
    if mask is None:
        mean_D, square_D = jnp.mean(x, leading), jnp.mean(jnp.square(x), leading)
        if axes:
            mean_D, square_D = jax.lax.pmean((mean_D, square_D), axes)
    else:
        weight = mask.astype(jnp.float32).reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        sums = (jnp.sum(x * weight, leading), jnp.sum(jnp.square(x) * weight, leading), jnp.sum(weight))
        total_D, squares_D, kept = jax.lax.psum(sums, axes) if axes else sums
        count = jnp.maximum(kept, 1) * math.prod(x.shape[mask.ndim : -1])
        mean_D, square_D = total_D / count, squares_D / count
    return mean_D, jnp.maximum(square_D - jnp.square(mean_D), 0)


def _last(values_D: jax.Array, ndim: int) -> jax.Array:
    return values_D.reshape((1,) * (ndim - 1) + (-1,))
