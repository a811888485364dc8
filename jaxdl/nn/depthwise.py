"""Depthwise convolution: one small kernel per channel. Letters: B batch, h w spatial, D channels, k kernel size."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Margins = tuple[tuple[int, int], tuple[int, int]]
"""Zeros before and after the image: of its rows, then of its columns."""


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_convolution(x_BhwD: jax.Array, kernel_kk1D: jax.Array, stride: int, margins: Margins) -> jax.Array:
    """Convolves each channel of (B, h, w, D) with its own kernel out of (k, k, 1, D).

    XLA has no fast grouped convolution on CPU, so there it is written as the sum of k * k shifted products, several
    times faster forward and backward; elsewhere it is one grouped convolution. The numbers are the same up to rounding.

    Only reverse-mode differentiation is defined (`jax.grad`, `jax.vjp`, and forward over reverse), not `jax.jvp`.
    """
    return _convolution(x_BhwD, kernel_kk1D, stride, margins)


def _convolution(x_BhwD: jax.Array, kernel_kk1D: jax.Array, stride: int, margins: Margins) -> jax.Array:
    return lax.platform_dependent(
        x_BhwD,
        kernel_kk1D,
        cpu=partial(_shifted_sum, stride=stride, margins=margins),
        default=partial(grouped_convolution, stride=stride, margins=margins),
    )


def grouped_convolution(x_BhwD: jax.Array, kernel: jax.Array, stride: int, margins: Margins) -> jax.Array:
    """XLA's own convolution; the number of groups follows from the shapes."""
    return lax.conv_general_dilated(
        x_BhwD,
        kernel,
        window_strides=(stride, stride),
        padding=margins,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x_BhwD.shape[-1] // kernel.shape[2],
    )


def _forward(
    x_BhwD: jax.Array, kernel_kk1D: jax.Array, stride: int, margins: Margins
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolution(x_BhwD, kernel_kk1D, stride, margins), (x_BhwD, kernel_kk1D)


def _backward(
    stride: int, margins: Margins, saved: tuple[jax.Array, jax.Array], cotangent_BhwD: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return lax.platform_dependent(
        *saved,
        cotangent_BhwD,
        cpu=partial(_shifted_gradients, stride=stride, margins=margins),
        default=partial(_grouped_gradients, stride=stride, margins=margins),
    )


depthwise_convolution.defvjp(_forward, _backward)


def _grouped_gradients(
    x_BhwD: jax.Array, kernel_kk1D: jax.Array, cotangent_BhwD: jax.Array, *, stride: int, margins: Margins
) -> tuple[jax.Array, jax.Array]:
    convolve = partial(grouped_convolution, stride=stride, margins=margins)
    _, pull_back = jax.vjp(convolve, x_BhwD, kernel_kk1D)
    gradient_of_x, gradient_of_kernel = pull_back(cotangent_BhwD)
    return gradient_of_x, gradient_of_kernel


def _shifted_sum(x_BhwD: jax.Array, kernel_kk1D: jax.Array, *, stride: int, margins: Margins) -> jax.Array:
    x = _padded(x_BhwD.astype(_wide(x_BhwD)), margins)
    kernel = kernel_kk1D.astype(x.dtype)
    size = kernel.shape[0]
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    shifts = _shifts(x, size, size, (rows, columns), stride)
    total = sum(shifted * kernel[row, column][None, None] for (row, column), shifted in shifts)
    return jnp.asarray(total).astype(x_BhwD.dtype)


def _shifted_gradients(
    x_BhwD: jax.Array, kernel_kk1D: jax.Array, cotangent_BhwD: jax.Array, *, stride: int, margins: Margins
) -> tuple[jax.Array, jax.Array]:
    of_kernel = _kernel_gradient(x_BhwD, kernel_kk1D, cotangent_BhwD, stride, margins)
    return _image_gradient(x_BhwD, kernel_kk1D, cotangent_BhwD, stride, margins), of_kernel


def _image_gradient(
    x_BhwD: jax.Array, kernel_kk1D: jax.Array, cotangent_BhwD: jax.Array, stride: int, margins: Margins
) -> jax.Array:
    """The kernel turned by half a turn over the cotangent with `stride - 1` zeros between its pixels."""
    size = kernel_kk1D.shape[0]
    spread = [
        # As many zeros as make the result as long as the image: negative where the last pixels met no window.
        (size - 1 - before, length + before - (count - 1) * stride - 1, stride - 1)
        for length, count, (before, _) in zip(x_BhwD.shape[1:3], cotangent_BhwD.shape[1:3], margins)
    ]
    wide = _wide(cotangent_BhwD)
    cotangent = lax.pad(cotangent_BhwD.astype(wide), jnp.zeros((), wide), ((0, 0, 0), *spread, (0, 0, 0)))
    turned = kernel_kk1D[::-1, ::-1]
    return _shifted_sum(cotangent, turned, stride=1, margins=((0, 0), (0, 0))).astype(x_BhwD.dtype)


def _kernel_gradient(
    x_BhwD: jax.Array, kernel_kk1D: jax.Array, cotangent_BhwD: jax.Array, stride: int, margins: Margins
) -> jax.Array:
    size = kernel_kk1D.shape[0]
    x = _padded(x_BhwD, margins)
    if size <= 3:
        gradient = _row_gradients(x, cotangent_BhwD, size, size, stride)
    else:
        # One row of the kernel at a time: large kernels at once take seconds to compile and overflow the cache.
        height = (cotangent_BhwD.shape[1] - 1) * stride + 1

        def row_gradient(row: jax.Array) -> jax.Array:
            return _row_gradients(lax.dynamic_slice_in_dim(x, row, height, 1), cotangent_BhwD, 1, size, stride)

        gradient = lax.map(row_gradient, jnp.arange(size))
    return gradient.reshape(kernel_kk1D.shape).astype(kernel_kk1D.dtype)


def _row_gradients(x_BhwD: jax.Array, cotangent_BhwD: jax.Array, height: int, width: int, stride: int) -> jax.Array:
    """Gradients (height * width, D) of the upper rows of a kernel.

    Image by image, so that the products of one image stay in cache; over its pixels only at the end.
    """
    shape_hwD, wide = cotangent_BhwD.shape[1:], _wide(x_BhwD)

    def add(totals: list[jax.Array], image: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
        x_1hwD, cotangent_hwD = image[0][None].astype(wide), image[1].astype(wide)
        shifts = _shifts(x_1hwD, height, width, shape_hwD[:2], stride)
        return [total + shifted[0] * cotangent_hwD for total, (_, shifted) in zip(totals, shifts)], None

    totals, _ = lax.scan(add, [jnp.zeros(shape_hwD, wide)] * (height * width), (x_BhwD, cotangent_BhwD))
    return jnp.stack([total.sum((0, 1)) for total in totals])


def _shifts(
    x_BhwD: jax.Array, height: int, width: int, counts: tuple[int, ...], stride: int
) -> Iterator[tuple[tuple[int, int], jax.Array]]:
    """For each place in a kernel of height x width, the pixel under it at every position of the window."""
    ends = [(count - 1) * stride + 1 for count in counts]
    batch, _, _, channels = x_BhwD.shape
    for row in range(height):
        for column in range(width):
            limits = (batch, row + ends[0], column + ends[1], channels)
            yield (row, column), lax.slice(x_BhwD, (0, row, column, 0), limits, (1, stride, stride, 1))


def _padded(x_BhwD: jax.Array, margins: Margins) -> jax.Array:
    return jnp.pad(x_BhwD, ((0, 0), *margins, (0, 0)))


def _wide(x: jax.Array) -> jnp.dtype:
    """Half-precision products are summed in single precision, as a convolution sums them."""
    return jnp.promote_types(x.dtype, jnp.float32)
