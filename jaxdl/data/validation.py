"""Checks of a whole batch on the host, each a list of `(row, reason)`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Problems = list[tuple[int, str]]
"""The rows that are not what they should be, and why."""


def out_of_range(values: np.ndarray, low: int, high: int, name: str = "label") -> Problems:
    """The rows of `values` (B, ...) that hold a value outside `[low, high)`, or NaN.

    JAX reads a wrong index without an error: -1 is the last class, and one too large is clipped or dropped.

    >>> out_of_range(np.array([0, 3, -1]), 0, 3)
    [(1, 'label 3 is outside [0, 3)'), (2, 'label -1 is outside [0, 3)')]
    """
    values = np.asarray(values)
    wrong = ~((values >= low) & (values < high))
    if not wrong.any():
        return []
    flat = wrong.reshape(len(values), -1)
    return [
        (int(row), f"{name} {values[row].reshape(-1)[flat[row].argmax()]} is outside [{low}, {high})")
        for row in np.flatnonzero(flat.any(axis=1))
    ]


def non_finite(batch: Mapping[str, Any]) -> Problems:
    """The rows of a batch whose floating-point fields hold NaN or an infinity.

    >>> non_finite({"x": np.array([[0.0], [np.nan]])})
    [(1, "field 'x' holds nan at (0,)")]
    """
    problems: Problems = []
    for name, value in batch.items():
        value = np.asarray(value)
        if value.dtype.kind not in "fc" or np.isfinite(value).all():
            continue
        finite = np.isfinite(value)
        for row in np.flatnonzero(~finite.reshape(len(value), -1).all(axis=1)):
            place = tuple(int(i) for i in np.argwhere(~finite[row])[0])
            problems.append((int(row), f"field {name!r} holds {value[row][place]} at {place}"))
    return problems
