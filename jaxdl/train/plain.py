"""Small trees of arrays as plain numbers, to save beside a state, such as the sums of metrics."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl.types import PyTree

Plain = Sequence[Mapping[str, Any]]
"""Type, shape and values of each array, as JSON has them."""


_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|bfloat16|float(16|32|64)")


def to_plain(tree: PyTree) -> list[dict[str, Any]]:
    """The arrays of a tree in their order."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(jax.device_get(tree))]
    return [{"dtype": str(x.dtype), "shape": x.shape, "values": x.ravel().tolist()} for x in leaves]


def from_plain(arrays: Plain, like: PyTree) -> PyTree | None:
    """A tree of NumPy arrays from what `to_plain` gave; None where `like` has other shapes or types.

    >>> from_plain(to_plain({"sum": np.float32(0.1)}), {"sum": np.float32(0)})
    {'sum': array(0.1, dtype=float32)}

    Raises:
      ValueError: it is not what `to_plain` gives.
    """
    leaves = read(arrays)
    if [(x.shape, x.dtype) for x in leaves] != [(x.shape, x.dtype) for x in jax.tree.leaves(like)]:
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read(arrays: Any) -> list[np.ndarray]:
    """The arrays, by themselves.

    Raises:
      ValueError: they are not what `to_plain` gives.
    """
    if not isinstance(arrays, list | tuple):
        raise ValueError(f"there should be a list of arrays, not a {type(arrays).__name__}")
    return list(map(_array, arrays))


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, dict) or not {"dtype", "shape", "values"} <= value.keys():
        raise ValueError("an array should be an object of dtype, shape and values")
    dtype, shape, values = value["dtype"], value["shape"], value["values"]
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise ValueError(f"an array cannot be of the type {str(dtype)[:40]!r}")
    if not isinstance(shape, list | tuple) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"an array cannot be of the shape {str(shape)[:40]}")
    if not isinstance(values, list) or any(type(x) not in (bool, int, float) for x in values):
        raise ValueError("the values of an array should be a list of numbers")
    if math.prod(shape) != len(values):
        raise ValueError(f"an array of the shape {str(shape)[:40]} cannot have {len(values)} values")
    try:
        with np.errstate(all="ignore"):
            return np.asarray(values, dtype).reshape(shape)
    except OverflowError as error:
        raise ValueError(f"a value of an array is no {dtype}") from error
