"""Operations on one uint8 image (h, w, D), defined as Pillow defines them. Letters: h w spatial, D channels.

Three kinds cover all of RandAugment: a table maps each value of a channel to another, a blend moves an image towards or
away from a poorer version of itself, and a warp takes each pixel from another place.
"""

import math

import jax
import jax.numpy as jnp

LEVELS = 256
SMOOTHING = ((1, 1, 1), (1, 5, 1), (1, 1, 1))
LUMINANCE = (0.299, 0.587, 0.114)


def histogram(image: jax.Array) -> jax.Array:
    """How often each value occurs in each channel (D, 256) int32."""
    channels = image.shape[-1]
    cells = image.reshape(-1, channels).astype(jnp.int32) + LEVELS * jnp.arange(channels, dtype=jnp.int32)[None]
    return jnp.zeros(channels * LEVELS, jnp.int32).at[cells.ravel()].add(1).reshape(channels, LEVELS)


def look_up(image: jax.Array, table: jax.Array) -> jax.Array:
    """Replaces each value by its entry in the table (D, 256) of its channel."""
    channels = jnp.arange(image.shape[-1])[None, None]
    return table[channels, image.astype(jnp.int32)].astype(jnp.uint8)


def identity_table(num_channels: int) -> jax.Array:
    """The table (D, 256) int32 that changes nothing."""
    return jnp.broadcast_to(jnp.arange(LEVELS, dtype=jnp.int32)[None], (num_channels, LEVELS))


def auto_contrast_table(counts: jax.Array) -> jax.Array:
    """Stretches the values that occur, by `histogram`, over the whole range."""
    values = jnp.arange(LEVELS, dtype=jnp.int32)[None]
    low = jnp.argmax(counts > 0, axis=1)[:, None]
    high = LEVELS - 1 - jnp.argmax(counts[:, ::-1] > 0, axis=1)[:, None]
    stretched = jnp.clip((values - low) * (LEVELS - 1) // jnp.maximum(high - low, 1), 0, LEVELS - 1)
    return jnp.where(high > low, stretched, values)


def equalize_table(counts: jax.Array) -> jax.Array:
    """Spreads the values that occur, by `histogram`, so that each range of the result is about as frequent."""
    last = LEVELS - 1 - jnp.argmax(counts[:, ::-1] > 0, axis=1)[:, None]
    step = (jnp.sum(counts, axis=1, keepdims=True) - jnp.take_along_axis(counts, last, axis=1)) // (LEVELS - 1)
    below = jnp.cumsum(counts, axis=1) - counts
    spread = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, LEVELS - 1)
    return jnp.where(step > 0, spread, jnp.arange(LEVELS, dtype=jnp.int32)[None])


def solarize_table(num_channels: int, threshold: jax.Array | float) -> jax.Array:
    """Inverts the values from `threshold` on."""
    values = identity_table(num_channels)
    return jnp.where(values < threshold, values, LEVELS - 1 - values)


def posterize_table(num_channels: int, bits: jax.Array | int) -> jax.Array:
    """Keeps the `bits` highest of the 8 bits of each value."""
    return identity_table(num_channels) & (-(2 ** (8 - bits)))


def blend(poorer: jax.Array, image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """`poorer + factor * (image - poorer)`: 0 is the poorer version, 1 the image, more an enhancement."""
    poorer, fine = poorer.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(poorer + factor * (fine - poorer), 0, LEVELS - 1).astype(jnp.uint8)


def gray(image: jax.Array) -> jax.Array:
    """The luminance (ITU-R 601) in every channel; the mean of the channels where there are not three."""
    channels = image.shape[-1]
    weights = jnp.array(LUMINANCE if channels == 3 else (1 / channels,) * channels, jnp.float32)
    luminance = jnp.floor(image.astype(jnp.float32) @ weights + 0.5)
    return jnp.broadcast_to(luminance[..., None], image.shape).astype(jnp.uint8)


def flat_gray(image: jax.Array) -> jax.Array:
    """The mean luminance in every pixel."""
    mean = jnp.floor(jnp.mean(gray(image), dtype=jnp.float32) + 0.5)
    return jnp.full(image.shape, mean.astype(jnp.uint8))


def smooth(image: jax.Array) -> jax.Array:
    """A weighted mean of each pixel and its eight neighbours; the outermost pixels stay."""
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    wide = image.astype(jnp.int32)
    total = jnp.zeros((), jnp.int32) + sum(
        weight * wide[row : row + height - 2, column : column + width - 2]
        for row, weights in enumerate(SMOOTHING)
        for column, weight in enumerate(weights)
    )
    weight = sum(map(sum, SMOOTHING))
    return image.at[1:-1, 1:-1].set(((2 * total + weight) // (2 * weight)).astype(jnp.uint8))


def warp(image: jax.Array, matrix: jax.Array, fill: int = 0) -> jax.Array:
    """Takes each pixel from the nearest one to where `matrix` sends its centre.

    Args:
      image: (h, w, D).
      matrix: (2, 3): `(x, y)` of the result comes from `matrix @ (x, y, 1)`, x to the right, in pixels.
      fill: Value of what comes from outside.
    """
    height, width = image.shape[:2]
    x, y = jnp.arange(width)[None] + 0.5, jnp.arange(height)[:, None] + 0.5
    column, row = (jnp.floor(m[0] * x + m[1] * y + m[2]).astype(jnp.int32) for m in matrix)
    known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    taken = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(known[..., None], taken, jnp.uint8(fill))


def rotation(degrees: jax.Array | float, height: int, width: int) -> jax.Array:
    """The matrix (2, 3) of `warp` that turns an image counterclockwise about its centre."""
    angle = jnp.float32(degrees) * (math.pi / 180)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return jnp.stack(
        [
            jnp.stack([cosine, -sine, x - cosine * x + sine * y]),
            jnp.stack([sine, cosine, y - sine * x - cosine * y]),
        ]
    )
