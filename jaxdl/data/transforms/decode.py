"""Encoded images to pixels."""

import dataclasses
from typing import Any

import grain
import numpy as np

from jaxdl.data.images import decode_image
from jaxdl.errors import DataError
from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(grain.transforms.Map):
    """`image` from encoded bytes (or a vector of uint8 that holds them) to uint8 (H, W, channels).

    See `jaxdl.data.images.decode_image` for the formats, the limits and the conversions.

    Raises:
      DataError: the image is corrupt, too large, or not encoded.
      ValueError: `channels` is not 1, 3 or 4.
    """

    channels: int = 3

    def __post_init__(self) -> None:
        if self.channels not in (1, 3, 4):
            raise ValueError(f"channels must be 1, 3 or 4, not {self.channels}.")

    def map(self, element: Example) -> dict[str, Any]:
        """An example with its image decoded."""
        image = element["image"]
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
            image = image.tobytes()
        if not isinstance(image, bytes):
            raise DataError(f"Decode needs encoded bytes; the image is {type(image).__name__} (already decoded?)")
        return {**element, "image": decode_image(image, self.channels)}
