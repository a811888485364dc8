"""Tables of another size: position embeddings interpolated, vocabularies and heads filled as far as they go."""

import math
from typing import Literal, get_args

import jax
import numpy as np

from jaxdl.interop.layout import Array

Method = Literal["grid", "linear", "rows"]
METHODS: tuple[Method, ...] = get_args(Method)
_PREFIX_TOKENS = 4  # At most: a class token, a distillation token, registers.


def guess(name: str, old: tuple[int, ...], new: tuple[int, ...]) -> Method:
    """How to resize a tensor by its name: positions by interpolation, over a grid where both are; else rows.

    >>> guess("position_embedding", (1, 197, 768), (1, 577, 768))
    'grid'
    """
    if "position" not in name:
        return "rows"
    axis = differing(old, new)
    return "grid" if axis is not None and grid(old[axis], new[axis]) is not None else "linear"


def resized(array: Array, shape: tuple[int, ...], method: Method) -> tuple[Array, str] | None:
    """The tensor at another size along one axis, and what was done to it in words; None where that cannot be.

    Args:
      array: Such as a table of positions (N, D) or (1, N, D).
      shape: The shape to reach. "rows" may give less: then only the first rows of the tensor are known.
      method: "grid" interpolates positions that are a square grid in row order, bicubic with antialiasing, and keeps
        the class tokens before them; "linear" interpolates a sequence; "rows" keeps what both sizes have.
    """
    axis = differing(array.shape, shape)
    if axis is None:
        return None
    change = f"{array.shape[axis]} to {shape[axis]}"
    if method == "rows":
        common = min(array.shape[axis], shape[axis])
        kept = np.take(array, np.arange(common), axis=axis)
        rest = shape[axis] - common
        return kept, f"first {common} of {change} copied" + (f", {rest} initialised" if rest else "")
    if method == "linear":
        return _interpolate(array, shape, "linear"), f"{change}, linear"
    found = grid(array.shape[axis], shape[axis])
    if found is None:
        return None
    first, old, new = found
    moved = np.moveaxis(array, axis, 0)
    tokens, table = moved[:first], moved[first:]
    table = _interpolate(table.reshape(old, old, *moved.shape[1:]), (new, new, *moved.shape[1:]), "cubic")
    whole = np.concatenate([tokens, table.reshape(new * new, *moved.shape[1:])])
    return np.moveaxis(whole, 0, axis), f"{change}, bicubic from {old} x {old} to {new} x {new}"


def differing(old: tuple[int, ...], new: tuple[int, ...]) -> int | None:
    """The one axis whose sizes differ; None where that is none or several."""
    if len(old) != len(new):
        return None
    axes = [axis for axis, (a, b) in enumerate(zip(old, new)) if a != b]
    return axes[0] if len(axes) == 1 else None


def grid(old: int, new: int) -> tuple[int, int, int] | None:
    """`(class tokens, old side, new side)` where both counts are some tokens and a square grid.

    >>> grid(197, 577)
    (1, 14, 24)
    """
    for first in range(_PREFIX_TOKENS + 1):
        sides = [math.isqrt(max(count - first, 0)) for count in (old, new)]
        if min(sides) > 0 and [side * side + first for side in sides] == [old, new]:
            return first, sides[0], sides[1]
    return None


def _interpolate(array: Array, shape: tuple[int, ...], method: str) -> Array:
    return np.asarray(jax.image.resize(array.astype(np.float32), shape, method)).astype(array.dtype)
