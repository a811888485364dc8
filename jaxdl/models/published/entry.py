"""One published size of a model."""

import dataclasses
from collections.abc import Callable, Mapping

from flax import linen as nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A model at a size that was published.

    Attributes:
      name: As the paper calls it, such as "ResNet-50".
      make: Makes the module, such as `functools.partial(ResNet, depth=50, num_classes=1000)`.
      inputs: Shape and dtype of each input for one example, without the batch axis.
      parameters: Number of parameters, as published; running statistics and other buffers do not count.
      paper: Authors and year.
      source: Where the number of parameters is published, and how ours may differ.
      flops: Floating-point operations of the matrix products and convolutions of one example's forward pass, a
        multiplication and an addition counting as two; those of the table `FLOPS`.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    parameters: int
    paper: str
    source: str
    flops: int = 0
