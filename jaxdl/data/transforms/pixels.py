"""What the image transforms share: the contract of an image, sizes, and resampling."""

from typing import Any, Literal

import numpy as np

from jaxdl.data.images import pillow
from jaxdl.errors import DataError
from jaxdl.types import Example

Method = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "box")
Size = int | tuple[int, int]
"""Pixels: one number for a square, or (height, width)."""


def image_of(example: Example, transform: object) -> np.ndarray:
    """The image of an example, uint8 (H, W, C).

    Raises:
      DataError: it is something else.
    """
    image: Any = example["image"]
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and 0 not in image.shape:
        return image
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    name = type(transform).__name__
    raise DataError(f"{name} needs an image of uint8 (H, W, C), not {found}; does Decode() come before it?")


def height_width(size: Size) -> tuple[int, int]:
    """A size as (height, width).

    Raises:
      ValueError: a side is below 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 pixel, or (height, width), not {size}.")
    return height, width


def check_method(method: str) -> None:
    """Raises a ValueError unless it is the name of a way to resample."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")


def resample(
    image: np.ndarray, size: tuple[int, int], method: str, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """An image (H, W, C), or its part `box` = (left, top, right, bottom), at (height, width) pixels."""
    height, width = size
    if box is None and image.shape[:2] == size:
        return image
    filters = pillow()
    planes = [image] if image.shape[2] == 3 else [image[..., i] for i in range(image.shape[2])]
    resized = [
        np.asarray(
            filters.fromarray(np.ascontiguousarray(plane)).resize(
                (width, height), filters.Resampling[method.upper()], box
            )
        )
        for plane in planes
    ]
    return resized[0] if resized[0].ndim == 3 else np.stack(resized, axis=-1)
