"""A whole source, read once into memory."""

import functools
from typing import Any, Literal

import numpy as np

from jaxdl.data import examples
from jaxdl.data.sources.arrays import ArraySource
from jaxdl.errors import DataError
from jaxdl.types import Source


def in_memory(
    *,
    source: Source,
    transforms: tuple[Any, ...] = (),
    threads: int | None = None,
    on_bad: Literal["raise", "skip"] = "raise",
) -> ArraySource:
    """Reads and transforms every example once, and keeps the results as arrays.

    Args:
      source: Its `labels` are kept.
      transforms: As those of `Pipeline`, but none may be random: it would give the same result in every epoch.
      threads: Threads that make examples; None means one per processor.
      on_bad: `"raise"` an error about a bad example, or `"skip"` (leave out) all of them.

    Raises:
      DataError: the source is empty, or an example is bad.
      ValueError: a transform is random, or `on_bad` is unknown.
    """
    if random := [transform for transform in transforms if hasattr(transform, "random_map")]:
        raise ValueError(f"{random} are random; give them to the Pipeline, so that each epoch draws anew.")
    if on_bad not in ("raise", "skip"):
        raise ValueError(f"on_bad must be 'raise' or 'skip', not {on_bad!r}.")
    if not len(source):
        raise DataError(f"The source is empty: {type(source).__name__} has no examples.")
    layout = examples.find_layout(source, transforms, 0, skip=on_bad == "skip")
    make = functools.partial(examples.make, source, transforms, 0)
    indices = np.arange(len(source))
    arrays, errors = examples.stack(make, indices, indices, layout, threads)
    if errors and on_bad == "raise":
        row = min(errors)
        raise DataError(f"{examples.describe(source, row)}: {errors[row]}.") from errors[row]
    if errors:
        arrays = {name: np.delete(array, list(errors), axis=0) for name, array in arrays.items()}
    labels = source.labels if hasattr(source, "labels") else ()
    return ArraySource(arrays=arrays, labels=labels, name=type(source).__name__)
