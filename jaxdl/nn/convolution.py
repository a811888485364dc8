"""Convolution over images in channels-last layout. Letters: B batch, h w spatial, D input channels, F features."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn import initializers

from jaxdl.nn.depthwise import depthwise_convolution, grouped_convolution

Initializer = initializers.Initializer
Padding = Literal["half", "same", "valid"]


class Conv(nn.Module):
    """A square 2-D convolution `(B, h, w, D) -> (B, h', w', F)`.

    By default it pads `(kernel_size - 1) // 2` zeros on each side, for every stride, so that weights trained with
    PyTorch's `padding=k//2` give the same numbers; Flax's and TensorFlow's "same" pads a strided convolution unevenly.
    Parameters: `kernel` (kernel_size, kernel_size, D / groups, F) and `bias` (F,), as in Flax.

    A 1 x 1 kernel, one whose windows neither overlap nor pad, and one on an image or a result smaller than itself run
    as one matrix product, on CPU two to a hundred times faster forward and backward. A depthwise convolution runs as
    `jaxdl.nn.depthwise.depthwise_convolution`.

    Attributes:
      features: F.
      kernel_size: Height and width of the kernel; odd with padding "half".
      stride: Step of the window along both axes.
      groups: Number of blocks that the channels are cut into; D for a depthwise convolution.
      padding: "half" as above; "same" for results of `ceil(h / stride)` rows, as TensorFlow pads: an odd zero goes
        below and to the right; "valid" for none.
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
    padding: Padding = "half"

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise ValueError(f"padding must be one of {get_args(Padding)}, not {self.padding!r}.")
        if self.kernel_size < 1 or (self.padding == "half" and self.kernel_size % 2 == 0):
            raise ValueError(f"kernel_size must be odd and positive to pad both sides alike, not {self.kernel_size}.")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, not {self.stride}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, x_BhwD: jax.Array) -> jax.Array:
        """Convolves `x_BhwD` (B, h, w, D)."""
        if x_BhwD.ndim != 4:
            raise ValueError(f"Conv needs an image batch (B, h, w, channels), not shape {x_BhwD.shape}.")
        shape = (self.kernel_size, self.kernel_size, x_BhwD.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias_F = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x_BhwD, kernel, bias_F = promote_dtype(x_BhwD, kernel, bias_F, dtype=self.dtype)
        y_BhwF = _convolve(x_BhwD, kernel, self.stride, self.groups, self.padding)
        return y_BhwF if bias_F is None else y_BhwF + bias_F[None, None, None]


class UpConv(nn.Module):
    """A transposed convolution whose windows do not overlap: `(B, h, w, D) -> (B, size h, size w, F)`.

    Each pixel becomes a square of size x size pixels by one matrix product, as PyTorch's `ConvTranspose2d` does with
    `kernel_size=stride=size`. Parameters: `kernel` (size, size, D, F) and `bias` (F,).

    Attributes:
      features: F.
      size: Height and width of the square.
      dtype: Type of the computation; None promotes the types of input and parameters.
    """

    features: int
    size: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array) -> jax.Array:
        """Enlarges `x_BhwD` (B, h, w, D)."""
        batch, height, width, channels = x_BhwD.shape
        size = self.size
        # Each result sees the D channels of one pixel alone, a share 1 / size ** 2 of what counts as its inputs.
        kernel_init = initializers.variance_scaling(float(size**2), "fan_in", "truncated_normal")
        kernel = self.param("kernel", kernel_init, (size, size, channels, self.features))
        bias_F = self.param("bias", initializers.zeros, (self.features,))
        x_BhwD, kernel, bias_F = promote_dtype(x_BhwD, kernel, bias_F, dtype=self.dtype)
        flat = x_BhwD.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
        squares = flat.reshape(batch, height, width, size, size, self.features)
        y_BhwF = squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, size * height, size * width, self.features)
        return y_BhwF + bias_F[None, None, None]


def _convolve(x_BhwD: jax.Array, kernel: jax.Array, stride: int, groups: int, padding: Padding) -> jax.Array:
    size, channels = kernel.shape[0], x_BhwD.shape[-1]
    if size == 1 and groups == 1:
        return _product(x_BhwD[:, ::stride, ::stride], kernel)
    height, width = x_BhwD.shape[1:3]
    margins = (_margin(height, size, stride, padding), _margin(width, size, stride, padding))
    if size == stride and groups == 1 and margins == ((0, 0), (0, 0)) and min(height, width) >= size:
        return _product(_tiles(x_BhwD, size), kernel)
    if groups == channels == kernel.shape[-1] and size > 1:
        return depthwise_convolution(x_BhwD, kernel, stride, margins)
    results = [(length + sum(margin) - size) // stride + 1 for length, margin in zip((height, width), margins)]
    if groups == 1 and min(results) > 0 and min(height, width, *results) < size:
        # Backward, the results are convolved. Where either is smaller than the kernel, XLA on CPU loops over scalars.
        return _product(_windows(x_BhwD, size, stride, margins, results), kernel)
    return grouped_convolution(x_BhwD, kernel, stride, margins)


def _product(x_BhwD: jax.Array, kernel: jax.Array) -> jax.Array:
    *leading, channels = x_BhwD.shape
    return (x_BhwD.reshape(-1, channels) @ kernel.reshape(channels, -1)).reshape(*leading, kernel.shape[-1])


def _tiles(x_BhwD: jax.Array, size: int) -> jax.Array:
    """The pixels of each size x size square side by side: (B, h / size, w / size, size * size * D)."""
    batch, height, width, channels = x_BhwD.shape
    rows, columns = height // size, width // size
    squares = x_BhwD[:, : rows * size, : columns * size].reshape(batch, rows, size, columns, size, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, size * size * channels)


def _windows(
    x_BhwD: jax.Array, size: int, stride: int, margins: tuple[tuple[int, int], ...], results: list[int]
) -> jax.Array:
    """The pixels that each result sees, side by side: (B, h', w', size * size * D)."""
    padded = jnp.pad(x_BhwD, ((0, 0), *margins, (0, 0)))
    rows, columns = ((count - 1) * stride + 1 for count in results)
    places = [(top, left) for top in range(size) for left in range(size)]
    shifted = [padded[:, top : top + rows : stride, left : left + columns : stride] for top, left in places]
    return jnp.concatenate(shifted, axis=-1)


def _margin(length: int, size: int, stride: int, padding: Padding) -> tuple[int, int]:
    if padding == "half":
        return (size - 1) // 2, (size - 1) // 2
    missing = max((-(-length // stride) - 1) * stride + size - length, 0) if padding == "same" else 0
    return missing // 2, missing - missing // 2
