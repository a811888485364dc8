"""Small trees of arrays as plain numbers, to save beside a state, such as the sums of metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl.types import PyTree

Plain = Sequence[Mapping[str, Any]]
"""Type, shape and values of each array, as JSON has them."""


def to_plain(tree: PyTree) -> list[dict[str, Any]]:
    """The arrays of a tree in their order."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(jax.device_get(tree))]
    return [{"dtype": str(x.dtype), "shape": x.shape, "values": x.ravel().tolist()} for x in leaves]


def from_plain(arrays: Plain, like: PyTree) -> PyTree | None:
    """A tree of NumPy arrays from what `to_plain` gave; None where `like` has other shapes or types.

    >>> from_plain(to_plain({"sum": np.float32(0.1)}), {"sum": np.float32(0)})
    {'sum': array(0.1, dtype=float32)}
    """
    leaves = [np.asarray(x["values"], x["dtype"]).reshape(x["shape"]) for x in arrays]
    if [(x.shape, x.dtype) for x in leaves] != [(x.shape, x.dtype) for x in jax.tree.leaves(like)]:
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
