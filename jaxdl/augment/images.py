"""Random crop, flip and erasing of `image` (B, h, w, D), of any type. Letters: B batch, h w spatial, D channels."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdl.augment.compose import row_keys
from jaxdl.types import Batch, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Pads every side and cuts the original size out at a random place, the same for all channels.

    Attributes:
      padding: Pixels added to each side.
      mode: What they hold: "constant" `fill`, or the image mirrored at its edge.
      fill: Value of a constant border.
    """

    padding: int = 4
    mode: Literal["constant", "reflect"] = "constant"
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, as is {self.padding}.")
        if self.mode not in ("constant", "reflect"):
            raise ValueError(f"mode must be 'constant' or 'reflect', not {self.mode!r}.")

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch with cropped images."""
        image = jnp.asarray(batch["image"])
        border = ((0, 0), (self.padding, self.padding), (self.padding, self.padding), (0, 0))
        options = {"constant_values": self.fill} if self.mode == "constant" else {}
        padded = jnp.pad(image, border, mode=self.mode, **options)

        def crop(key: Key, padded: jax.Array) -> jax.Array:
            top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
            return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape[1:])

        return {**batch, "image": jax.vmap(crop)(row_keys(key, len(image)), padded)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Mirrors images left to right.

    Attributes:
      probability: Of each image to be mirrored.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self.probability)

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch with some images mirrored."""
        image = jnp.asarray(batch["image"])
        flip_B = jax.vmap(lambda key: jax.random.bernoulli(key, self.probability))(row_keys(key, len(image)))
        return {**batch, "image": jnp.where(flip_B[:, None, None, None], image[:, :, ::-1], image)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Overwrites one rectangle of an image (Zhong et al. 2020), wholly inside it.

    Attributes:
      probability: Of each image to lose a rectangle.
      area: Least and greatest share of the image that is erased.
      aspect: Least and greatest ratio of height to width, drawn uniformly in its logarithm.
      fill: Value of the erased pixels, in the units of the image; None writes uniform noise over the range of its type,
        [0, 255] for uint8 and [0, 1) for floats.
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    fill: float | None = 0.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area must be (low, high) with 0 < low <= high <= 1, not {self.area}.")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect must be (low, high) with 0 < low <= high, not {self.aspect}.")

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch with rectangles erased."""
        image = jnp.asarray(batch["image"])
        return {**batch, "image": jax.vmap(self._erase)(row_keys(key, len(image)), image)}

    def _erase(self, key: Key, image: jax.Array) -> jax.Array:
        happens, area, aspect, place, noise = jax.random.split(key, 5)
        height, width = image.shape[:2]
        size = jax.random.uniform(area, minval=self.area[0], maxval=self.area[1]) * height * width
        ratio = jnp.exp(jax.random.uniform(aspect, minval=math.log(self.aspect[0]), maxval=math.log(self.aspect[1])))
        # A rectangle that is too long for the image is cut to its side.
        rows = jnp.clip(jnp.round(jnp.sqrt(size * ratio)), 1, height)
        columns = jnp.clip(jnp.round(jnp.sqrt(size / ratio)), 1, width)
        top, left = jnp.floor(jax.random.uniform(place, (2,)) * jnp.stack([height - rows + 1, width - columns + 1]))
        erased = inside((height, width), top, left, top + rows, left + columns)
        erased &= jax.random.bernoulli(happens, self.probability)
        return jnp.where(erased[..., None], self._filling(noise, image), image)

    def _filling(self, key: Key, image: jax.Array) -> jax.Array:
        if self.fill is not None:
            return jnp.full(image.shape, self.fill, image.dtype)
        if image.dtype == jnp.uint8:
            return jax.random.bits(key, image.shape, jnp.uint8)
        return jax.random.uniform(key, image.shape, image.dtype)


def inside(shape: tuple[int, int], top: jax.Array, left: jax.Array, bottom: jax.Array, right: jax.Array) -> jax.Array:
    """Which pixels (h, w) lie in the rectangle whose lower and right edges are excluded.

    >>> inside((2, 3), 0, 1, 1, 3).astype(int)
    Array([[0, 1, 1],
           [0, 0, 0]], dtype=int32)
    """
    row, column = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None]
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def check_probability(probability: float) -> None:
    """Raises ValueError unless a number is a probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in [0, 1], not {probability}.")
