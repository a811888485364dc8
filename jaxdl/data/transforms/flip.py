"""Mirror images."""

import dataclasses
from typing import Any

import grain
import numpy as np

from jaxdl.data.transforms.pixels import image_of
from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlip(grain.transforms.RandomMap):
    """`image` mirrored left to right, or not.

    Attributes:
      probability: How often it is mirrored.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], not {self.probability}.")

    def random_map(self, element: Example, rng: np.random.Generator) -> dict[str, Any]:
        """An example, with its image mirrored or not."""
        image = image_of(element, self)
        return {**element, "image": image[:, ::-1] if rng.random() < self.probability else image}
