"""One example after another into the rows of a batch."""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxdl.errors import DataError
from jaxdl.types import Example, Source

Layout = dict[str, tuple[tuple[int, ...], np.dtype]]
"""The shape and dtype of every field of an example."""
TOO_MANY_BAD = 8
"""So many bad rows in a batch, and no good one, are no accident."""
_SEARCH = 1000
# What bad data makes readers and transforms raise. Other errors (AttributeError, NameError) are a program's own.
_BAD = (ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError, struct.error, zlib.error)


def make(source: Source, transforms: Sequence[Any], seed: int, index: int, position: int) -> dict[str, np.ndarray]:
    """The example `index`, transformed with the randomness of `position`.

    Raises:
      DataError: reading or a transform failed, or a field is no array of numbers.
    """
    rng = None
    try:
        example: Example = source[index]
    except _BAD as error:
        raise _as_data_error("reading", error) from error
    for transform in transforms:
        try:
            if hasattr(transform, "random_map"):
                rng = np.random.default_rng((seed, position)) if rng is None else rng
                example = transform.random_map(example, rng)
            else:
                example = transform.map(example) if hasattr(transform, "map") else transform(example)
        except _BAD as error:
            raise _as_data_error(_name(transform), error) from error
    return {name: _array(name, value) for name, value in example.items()}


def describe(source: Source, index: int) -> str:
    """The source's own words for an example, or its number."""
    if hasattr(source, "describe"):
        return source.describe(index)
    return f"example {index} of {type(source).__name__}"


def find_layout(source: Source, transforms: Sequence[Any], seed: int, *, skip: bool) -> Layout:
    """The layout of the first example, or with `skip` of the first good one among the first 1000.

    Raises:
      DataError: there is none.
    """
    errors = []
    for index in range(min(len(source), _SEARCH) if skip else 1):
        try:
            example = make(source, transforms, seed, index, index)
        except DataError as error:
            errors.append(error)
            continue
        if "mask" in example and example["mask"].shape != ():
            raise DataError(f"The field 'mask' must be one number per example, not {example['mask'].shape}.")
        return {name: (value.shape, value.dtype) for name, value in example.items()}
    tried = f"None of the first {len(errors)} examples is good. " if len(errors) > 1 else ""
    raise DataError(f"{tried}{describe(source, 0)}: {errors[0]}.") from errors[0]


def stack(
    make_example: Callable[[int, int], dict[str, np.ndarray]],
    indices: np.ndarray,
    positions: np.ndarray,
    layout: Layout,
    threads: int | None,
) -> tuple[dict[str, np.ndarray], dict[int, Exception]]:
    """A batch of examples, made by threads, and the error of every row that could not be made (it stays zero)."""
    batch = {name: np.zeros((len(indices), *shape), dtype) for name, (shape, dtype) in layout.items()}
    errors: dict[int, Exception] = {}

    def fill(rows: Iterable[int]) -> None:
        for row in rows:
            try:
                example = make_example(int(indices[row]), int(positions[row]))
                _match(example, layout)
            except DataError as error:
                errors[row] = error
                continue
            for name, value in example.items():
                batch[name][row] = value

    threads = min(len(indices), threads or num_processors())
    if threads == 1:
        fill(range(len(indices)))
    else:
        parts = 4 * threads  # Smaller parts than threads, since images differ in size.
        with ThreadPoolExecutor(threads, thread_name_prefix="examples") as pool:
            list(pool.map(fill, (range(part, len(indices), parts) for part in range(parts))))
    return batch, errors


def num_processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _match(example: dict[str, np.ndarray], layout: Layout) -> None:
    if example.keys() != layout.keys():
        raise DataError(f"its fields are {sorted(example)}; those of the other examples are {sorted(layout)}")
    for name, value in example.items():
        if (value.shape, value.dtype) != layout[name]:
            shape, dtype = layout[name]
            raise DataError(
                f"field {name!r} is {value.dtype} {value.shape}; in the other examples it is {dtype} {shape}"
                + (", add a Resize or a crop to the transforms" if value.ndim == 3 else "")
            )


def _array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value) if not isinstance(value, (bytes, str)) else None
    if array is not None and array.dtype.kind in "biufc":
        return array
    hint = "add Decode() to the transforms" if isinstance(value, bytes) else "remove it with a transform"
    raise DataError(f"field {name!r} is {type(value).__name__}, not numbers: {hint}")


def _as_data_error(what: str, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"{what} failed with {type(error).__name__}: {error}")


def _name(transform: Any) -> str:
    return getattr(transform, "__name__", type(transform).__name__)
