"""RandAugment. Letters: B batch, h w spatial, D channels."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxdl.augment import operations as ops
from jaxdl.augment.compose import row_keys
from jaxdl.types import Batch, Key

TABLES = ("auto_contrast", "equalize", "solarize", "posterize")
BLENDS = ("color", "contrast", "brightness", "sharpness")
WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = ("identity", *TABLES, *BLENDS, *WARPS)
"""The 14 operations, each drawn with equal probability."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Applies `num_ops` operations to each image, drawn from 14 (Cubuk et al. 2020, section 3).

    At magnitude 10 an image is rotated by 30 degrees, sheared by 0.3, moved by 0.45 of its side, changed in color,
    contrast, brightness or sharpness by a factor of 1 +- 0.9, posterized to 4 bits or inverted wholly; lower magnitudes
    scale these, and signs are random. Auto-contrast and equalization know no magnitude.

    Images stay uint8. Those of a floating type, in [0, 1], are rounded to 256 levels on the way.

    The operations are of three kinds (see `jaxdl.augment.operations`), and each image runs through one of each kind,
    of which at most one is not the identity: a third of the work of computing all 14 and choosing.

    Attributes:
      num_ops: How many operations follow one another.
      magnitude: Strength, in [0, 10].
      fill: Value, in [0, 255], of pixels that come from outside.
    """

    num_ops: int = 2
    magnitude: float = 9.0
    fill: int = 0

    def __post_init__(self) -> None:
        if self.num_ops < 0:
            raise ValueError(f"num_ops must not be negative, as is {self.num_ops}.")
        if not 0 <= self.magnitude <= 10:
            raise ValueError(f"magnitude must be in [0, 10], not {self.magnitude}.")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must be in [0, 255], not {self.fill}.")

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch with changed images."""
        image = jnp.asarray(batch["image"])
        levels = image if image.dtype == jnp.uint8 else jnp.round(image * 255).astype(jnp.uint8)
        levels = jax.vmap(self._augment)(row_keys(key, len(image)), levels)
        changed = levels if image.dtype == jnp.uint8 else levels.astype(image.dtype) / 255
        return {**batch, "image": changed}

    def _augment(self, key: Key, image: jax.Array) -> jax.Array:
        for number in range(self.num_ops):
            choose, flip = jax.random.split(jax.random.fold_in(key, number))
            choice = jax.random.randint(choose, (), 0, len(OPERATIONS))
            sign = jnp.where(jax.random.bernoulli(flip), 1.0, -1.0)
            image = operate(image, choice, sign * self.magnitude / 10, self.fill)
        return image


def operate(image: jax.Array, choice: jax.Array | int, strength: jax.Array | float, fill: int = 0) -> jax.Array:
    """One operation on one uint8 image (h, w, D).

    Args:
      image: (h, w, D).
      choice: Which of `OPERATIONS`, int32.
      strength: In [-1, 1]; its sign is that of the rotation, shear, translation or enhancement.
      fill: Value of pixels that come from outside.
    """
    image = _apply_table(image, choice, strength)
    image = _apply_blend(image, choice, strength)
    return ops.warp(image, _matrix(choice, strength, *image.shape[:2]), fill)


def _apply_table(image: jax.Array, choice: jax.Array | int, strength: jax.Array | float) -> jax.Array:
    channels, amount = image.shape[-1], jnp.abs(strength)
    counts = ops.histogram(image)
    bits_removed = jnp.round(4 * amount).astype(jnp.int32)
    tables = {
        "auto_contrast": ops.auto_contrast_table(counts),
        "equalize": ops.equalize_table(counts),
        "solarize": ops.solarize_table(channels, ops.LEVELS * (1 - amount)),
        "posterize": ops.posterize_table(channels, 8 - bits_removed),
    }
    table = ops.identity_table(channels)
    for name, other in tables.items():
        table = jnp.where(choice == OPERATIONS.index(name), other, table)
    return ops.look_up(image, table)


def _apply_blend(image: jax.Array, choice: jax.Array | int, strength: jax.Array | float) -> jax.Array:
    poorer = {
        "color": ops.gray(image),
        "contrast": ops.flat_gray(image),
        "brightness": jnp.zeros_like(image),
        "sharpness": ops.smooth(image),
    }
    chosen = image
    for name, other in poorer.items():
        chosen = jnp.where(choice == OPERATIONS.index(name), other, chosen)
    return ops.blend(chosen, image, 1 + 0.9 * strength)


def _matrix(choice: jax.Array | int, strength: jax.Array | float, height: int, width: int) -> jax.Array:
    matrix = jnp.eye(2, 3)
    matrices = {
        "rotate": ops.rotation(30 * strength, height, width),
        "shear_x": matrix.at[0, 1].set(0.3 * strength),
        "shear_y": matrix.at[1, 0].set(0.3 * strength),
        "translate_x": matrix.at[0, 2].set(jnp.round(0.45 * strength * width)),
        "translate_y": matrix.at[1, 2].set(jnp.round(0.45 * strength * height)),
    }
    for name, other in matrices.items():
        matrix = jnp.where(choice == OPERATIONS.index(name), other, matrix)
    return matrix
