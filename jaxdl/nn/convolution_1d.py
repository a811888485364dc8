"""Convolution over sequences in channels-last layout. Letters: B batch, T frames, D input channels, F features."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn import initializers

Initializer = initializers.Initializer


class Conv1D(nn.Module):
    """A 1-D convolution `(B, T, D) -> (B, ceil(T / stride), F)`, padded by `(kernel_size - 1) // 2` zeros on each side.

    The padding is the same on both sides for every stride, as PyTorch's `padding=k//2`. Parameters: `kernel`
    (kernel_size, D / groups, F) and `bias` (F,), as in Flax. A depthwise convolution runs on CPU as a sum of shifted
    products, several times faster than XLA's.

    Attributes:
      features: F.
      kernel_size: Frames under the kernel, odd.
      stride: Step of the window.
      groups: Number of blocks that the channels are cut into; D for a depthwise convolution.
      use_bias: Whether to add `bias`.
      dtype: Type of the computation; None promotes the types of input and parameters.
      param_dtype: Type of the parameters.
      kernel_init: Initializer of `kernel`.
      bias_init: Initializer of `bias`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = initializers.lecun_normal()
    bias_init: Initializer = initializers.zeros

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive to pad both sides alike, not {self.kernel_size}.")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, not {self.stride}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Convolves `x_BTD` (B, T, D)."""
        if x_BTD.ndim != 3:
            raise ValueError(f"Conv1D needs sequences (B, T, channels), not shape {x_BTD.shape}.")
        channels = x_BTD.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(f"groups={self.groups} does not divide {channels} channels and {self.features} features.")
        shape = (self.kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias_F = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x_BTD, kernel, bias_F = promote_dtype(x_BTD, kernel, bias_F, dtype=self.dtype)
        convolve = partial(_convolution, stride=self.stride, groups=self.groups)
        if self.groups == channels == self.features:
            shifted = partial(_shifted_sum, stride=self.stride)
            y_BTF = jax.lax.platform_dependent(x_BTD, kernel, cpu=shifted, default=convolve)
        else:
            y_BTF = convolve(x_BTD, kernel)
        return y_BTF if bias_F is None else y_BTF + bias_F[None, None]


def _convolution(x_BTD: jax.Array, kernel: jax.Array, *, stride: int, groups: int) -> jax.Array:
    margin = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x_BTD,
        kernel,
        window_strides=(stride,),
        padding=((margin, margin),),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def _shifted_sum(x_BTD: jax.Array, kernel_k1D: jax.Array, *, stride: int) -> jax.Array:
    # Half-precision products are summed in single precision, as a convolution sums them.
    wide = jnp.promote_types(x_BTD.dtype, jnp.float32)
    margin = (kernel_k1D.shape[0] - 1) // 2
    padded = jnp.pad(x_BTD.astype(wide), ((0, 0), (margin, margin), (0, 0)))
    last = (x_BTD.shape[1] - 1) // stride * stride
    shifted = (padded[:, start : start + last + 1 : stride] for start in range(len(kernel_k1D)))
    total = sum(x * row_1D[None].astype(wide) for x, row_1D in zip(shifted, kernel_k1D))
    return jnp.asarray(total).astype(x_BTD.dtype)
