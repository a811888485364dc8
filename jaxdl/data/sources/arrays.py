"""Arrays in memory as a source."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxdl.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource:
    """Examples that are the rows of arrays.

    Attributes:
      arrays: Arrays (N, ...) by name, all of one length. They may be memory maps.
      labels: Class names in the order of their ids.
      name: What error messages call it.

    Raises:
      DataError: there are no arrays or no rows, the lengths differ, or an array holds objects or text.

    >>> source = ArraySource(arrays={"image": np.zeros((3, 8, 8, 1)), "label": np.arange(3)})
    >>> len(source), source[2]["label"]
    (3, np.int64(2))
    """

    arrays: Mapping[str, np.ndarray]
    labels: tuple[str, ...] = ()
    name: str = "arrays"

    def __post_init__(self) -> None:
        arrays = {name: np.asanyarray(array) for name, array in self.arrays.items()}
        if not arrays:
            raise DataError(f"{self.name}: there are no arrays.")
        for name, array in arrays.items():
            if array.dtype.kind not in "biufc":
                raise DataError(f"{self.name}: the array {name!r} holds {array.dtype}, not numbers.")
            if array.ndim == 0:
                raise DataError(f"{self.name}: the array {name!r} is a scalar, without rows.")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"{self.name}: the arrays must have one length, but have {shown}.")
        if 0 in lengths.values():
            raise DataError(f"{self.name}: the arrays are empty ({', '.join(lengths)} have 0 rows).")
        object.__setattr__(self, "arrays", arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,) of every array, as new arrays."""
        return {name: np.take(array, indices, axis=0) for name, array in self.arrays.items()}

    def describe(self, index: int) -> str:
        """Such as `digits test, example 12`."""
        return f"{self.name}, example {index}"
