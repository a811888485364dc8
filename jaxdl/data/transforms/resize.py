"""Images to a stated size."""

import dataclasses
from typing import Any

import grain

from jaxdl.data.transforms.pixels import Method, Size, check_method, height_width, image_of, resample
from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize(grain.transforms.Map):
    """`image` to exactly `size` pixels, whatever that does to its proportions.

    Attributes:
      size: Pixels: one number for a square, or (height, width).
      method: How to resample; every method but nearest averages when it shrinks.
    """

    size: Size
    method: Method = "bilinear"

    def __post_init__(self) -> None:
        height_width(self.size)
        check_method(self.method)

    def map(self, element: Example) -> dict[str, Any]:
        """An example with its image resized."""
        return {**element, "image": resample(image_of(element, self), height_width(self.size), self.method)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResizeSmallest(grain.transforms.Map):
    """`image` so that its shorter side has `size` pixels and its proportions stay.

    Attributes:
      size: Pixels of the shorter side.
      method: How to resample; every method but nearest averages when it shrinks.
    """

    size: int
    method: Method = "bilinear"

    def __post_init__(self) -> None:
        height_width(self.size)
        check_method(self.method)

    def map(self, element: Example) -> dict[str, Any]:
        """An example with its image resized."""
        image = image_of(element, self)
        height, width = image.shape[:2]
        scale = self.size / min(height, width)
        size = max(self.size, round(height * scale)), max(self.size, round(width * scale))
        return {**element, "image": resample(image, size, self.method)}
