"""Parts of images."""

import dataclasses
import math
from typing import Any

import grain
import numpy as np

from jaxdl.data.transforms.pixels import Method, Size, check_method, height_width, image_of, resample
from jaxdl.errors import DataError
from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterCrop(grain.transforms.Map):
    """The middle of `image`, `size` pixels.

    Attributes:
      size: Pixels: one number for a square, or (height, width).
    """

    size: Size

    def __post_init__(self) -> None:
        height_width(self.size)

    def map(self, element: Example) -> dict[str, Any]:
        """An example with its image cropped."""
        image, size = image_of(element, self), height_width(self.size)
        _check_fits(image, size, "CenterCrop")
        top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
        return {**element, "image": image[top : top + size[0], left : left + size[1]]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop(grain.transforms.RandomMap):
    """A part of `image` at a random place, after a border of zeros.

    Attributes:
      size: Pixels: one number for a square, or (height, width).
      padding: Width of the border on each side.
    """

    size: Size
    padding: int = 0

    def __post_init__(self) -> None:
        height_width(self.size)
        if self.padding < 0:
            raise ValueError(f"padding must be at least 0, not {self.padding}.")

    def random_map(self, element: Example, rng: np.random.Generator) -> dict[str, Any]:
        """An example with its image cropped."""
        border = ((self.padding, self.padding), (self.padding, self.padding), (0, 0))
        image, size = np.pad(image_of(element, self), border), height_width(self.size)
        _check_fits(image, size, "RandomCrop")
        top, left = rng.integers(0, (image.shape[0] - size[0] + 1, image.shape[1] - size[1] + 1))
        return {**element, "image": image[top : top + size[0], left : left + size[1]]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(grain.transforms.RandomMap):
    """A part of `image` of random area, proportions and place, resized to `size`.

    Szegedy et al. (2015), "Going deeper with convolutions", section 6. When ten draws give no part that fits, the
    largest central part within the range of proportions is taken.

    Attributes:
      size: Pixels: one number for a square, or (height, width).
      scale: Least and largest area, as a share of the image's.
      ratio: Least and largest width / height; drawn evenly on a logarithmic scale.
      method: How to resample.
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: Method = "bilinear"

    def __post_init__(self) -> None:
        height_width(self.size)
        check_method(self.method)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be (least, largest) with 0 < least <= largest <= 1, not {self.scale}.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be (least, largest) with 0 < least <= largest, not {self.ratio}.")

    def random_map(self, element: Example, rng: np.random.Generator) -> dict[str, Any]:
        """An example with its image cropped and resized."""
        image = image_of(element, self)
        box = self._draw(image.shape[0], image.shape[1], rng)
        return {**element, "image": resample(image, height_width(self.size), self.method, box)}

    def _draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """A box (left, top, right, bottom) of whole pixels."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < box_width <= width and 0 < box_height <= height:
                left, top = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))
                return left, top, left + box_width, top + box_height
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        box_width, box_height = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        left, top = (width - box_width) // 2, (height - box_height) // 2
        return left, top, left + box_width, top + box_height


def _check_fits(image: np.ndarray, size: tuple[int, int], name: str) -> None:
    if image.shape[0] < size[0] or image.shape[1] < size[1]:
        height, width = image.shape[:2]
        raise DataError(f"{name} to {size} does not fit into the image of {height} x {width} pixels: resize it first")
