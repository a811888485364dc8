"""Dense layers. Letters: D inputs, F features."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn import initializers

from jaxdl.nn.placement import axis_size

Initializer = initializers.Initializer


class Dense(nn.Module):
    """An affine map of the last axis: `(..., D) -> (..., F)`, with Flax's parameters `kernel` (D, F) and `bias` (F,).

    All leading axes become one before the product. XLA on CPU computes the weight gradient of a flattened product two
    to three times faster than the same contraction over several axes.

    Attributes:
      features: F.
      use_bias: Whether to add `bias`.
      dtype: Type of the computation; None promotes the types of input and parameters.
      param_dtype: Type of the parameters.
      kernel_init: Initializer of `kernel`.
      bias_init: Initializer of `bias`.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = initializers.lecun_normal()
    bias_init: Initializer = initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `x` (..., D)."""
        kernel_DF = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype)
        bias_F = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel_DF, bias_F = promote_dtype(x, kernel_DF, bias_F, dtype=self.dtype)
        y = flattened(x) @ kernel_DF
        if bias_F is not None:
            y = y + bias_F[(None,) * (y.ndim - 1)]
        return y.reshape(*x.shape[:-1], self.features)


def tied_logits(embedding: nn.Embed, x: jax.Array) -> jax.Array:
    """Products of `x` (..., D) with the embedding of every token: (..., V), as one matrix product (see `Dense`).

    Source: Press and Wolf 2017.
    """
    return embedding.attend(flattened(x)).reshape(*x.shape[:-1], embedding.num_embeddings)


def flattened(x: jax.Array) -> jax.Array:
    """`(..., D)` as (N, D); as it is on a mesh with `sequence`, for an axis of tokens that is merged is not split."""
    return x if axis_size("sequence") > 1 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
