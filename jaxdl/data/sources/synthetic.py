"""Examples of random numbers, of the shapes of a data set that is not here."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One array of an example.

    Attributes:
      dtype: Such as "uint8".
      shape: Without rows.
      low: The smallest number.
      high: The number that all are below; whole numbers are drawn alike, others uniformly. `low` itself makes all the
        same.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    low: float = 0
    high: float = 256

    def __post_init__(self) -> None:
        if np.dtype(self.dtype).kind not in "iuf":
            raise ValueError(f"Random examples are numbers, not {self.dtype}.")
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A data set of random numbers, to plan, time or try a config whose data is elsewhere; the i-th is always the same.

    >>> Synthetic(count=3, fields={"label": Field(dtype="int32", high=10)})[2]["label"].dtype
    dtype('int32')

    Attributes:
      count: How many examples there are.
      fields: The arrays of each by name.
      seed: Another makes other numbers.
    """

    count: int
    fields: Mapping[str, Field]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or not self.fields:
            raise ValueError(f"Give at least one example and one field, not {self.count} of {len(self.fields)}.")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(f"There is no example {index} of {self.count}.")
        generator = np.random.default_rng((self.seed, index))
        return {name: _drawn(field, generator) for name, field in self.fields.items()}


def _drawn(field: Field, generator: np.random.Generator) -> np.ndarray:
    if field.low == field.high:
        return np.full(field.shape, field.low, field.dtype)
    if np.dtype(field.dtype).kind == "f":
        return generator.uniform(field.low, field.high, field.shape).astype(field.dtype)
    return np.asarray(generator.integers(int(field.low), int(field.high), field.shape), field.dtype)
