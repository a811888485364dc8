"""Colour to gray."""

import dataclasses
from typing import Any

import grain
import numpy as np

from jaxdl.data.transforms.pixels import image_of
from jaxdl.errors import DataError
from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToGray(grain.transforms.Map):
    """`image` (H, W, 3) to (H, W, 1) by the weights of ITU-R BT.601; one of (H, W, 1) stays as it is."""

    def map(self, element: Example) -> dict[str, Any]:
        """An example with its image in gray."""
        image = image_of(element, self)
        if image.shape[2] == 1:
            return dict(element)
        if image.shape[2] != 3:
            raise DataError(f"ToGray needs 1 or 3 channels, not {image.shape[2]}")
        # In 1/65536, rounded, as Pillow does.
        gray = (image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000) >> 16
        return {**element, "image": gray.astype(np.uint8)[..., None]}
