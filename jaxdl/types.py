"""The words that every room of jaxdl shares."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

PyTree = Any
Array = jax.Array | np.ndarray
Key = jax.Array
Example = Mapping[str, Any]
"""One example: arrays or scalars by name, without a batch axis."""
Batch = Mapping[str, Any]
"""Arrays (B, ...), or trees of them, by name. `mask` (B,) is 1 for a real row and 0 for padding."""


class Metric(Protocol):
    """A pytree of sums: two metrics of one kind merge by leafwise addition (`jaxdl.metrics.add`)."""

    def compute(self) -> Any:
        """Reads the value out of the sums: a scalar, or an array."""
        ...


Metrics = Mapping[str, Any]
"""Metrics by name."""


class Source(Protocol):
    """A data set with random access.

    A source may also offer `gather(indices) -> Batch` (all rows at once, nothing per example),
    `describe(index) -> str` (the file or record behind an example, for error messages), and
    `labels: tuple[str, ...]` (class names in the order of their ids).
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
