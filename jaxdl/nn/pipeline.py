"""Equal layers spread over the stages of a pipeline, through which the parts of a batch go one after another."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import ConfigError
from jaxdl.nn.placement import ROWS, axis_size, constrain
from jaxdl.types import PyTree

STAGE = "stage"
_PARTS_PER_STAGE = 4


def stages() -> int:
    """The number of stages of the mesh that is compiled for."""
    return axis_size(STAGE)


def pipelined(
    layer: Callable[[Any, jax.Array, PyTree, jax.Array], tuple[jax.Array, PyTree]],
    each: PyTree,
    x: jax.Array,
    shared: PyTree,
) -> tuple[jax.Array, PyTree]:
    """Runs layers on `x` (B, ...) over the axis `stage`, each device with the layers of its stage only.

    The batch goes through in parts (Huang et al. 2019, "GPipe"): while a stage works on one part the stage before works
    on the next. The stages are one computation over arrays whose first dimension is split over `stage`, and a part
    moves on by a shift along it (Xu et al. 2021, "GSPMD", section 3.3), so that all other axes go on as without stages.
    Of M parts and S stages a share of (S - 1) / (M + S - 1) of the time is spent waiting; M is the largest number up to
    4 S that leaves every device rows of each part.

    Args:
      layer: `(own, x, shared, part) -> (x, out)`, where the leaves of `out` have the rows of `x` first and `part` is
        the number of the part, int32 (), to draw differently for each.
      each: What the layers own, stacked: leaves (L, ...), L a multiple of the number of stages.
      x: (B, ...).
      shared: What all layers are given: leaves with B rows go with theirs, and those with one row go to all.

    Returns:
      The result of the last layer, and every layer's `out` stacked: leaves (L, B, ...).

    Raises:
      ConfigError: the stages do not divide the layers.
    """
    count, layers, rows = stages(), len(jax.tree.leaves(each)[0]), len(x)
    if layers % count:
        raise ConfigError(f"{count} stages do not divide {layers} layers: choose a mesh whose `stage` divides them.")
    parts = _parts(rows, count)
    each = jax.tree.map(lambda leaf: constrain(leaf.reshape(count, -1, *leaf.shape[1:]), STAGE), each)
    split = jax.tree.map(lambda leaf: _split(leaf, parts) if len(leaf) == rows and rows > 1 else None, shared)
    whole = jax.tree.map(lambda leaf: None if len(leaf) == rows and rows > 1 else leaf, shared)
    x_parts = _split(x, parts)

    def stage(own: PyTree, x: jax.Array, split: PyTree, part: jax.Array) -> tuple[jax.Array, PyTree]:
        both = jax.tree.map(lambda one, other: other if one is None else one, split, whole, is_leaf=_is_none)
        return jax.lax.scan(lambda x, own: layer(own, x, both, part), x, own)

    everywhere = jax.vmap(stage)

    def tick(held: jax.Array, time: jax.Array) -> tuple[jax.Array, tuple[jax.Array, PyTree]]:
        held = jnp.roll(held, 1, axis=0).at[0].set(x_parts[jnp.minimum(time, parts - 1)])
        numbers = jnp.clip(time - jnp.arange(count), 0, parts - 1)
        here = jax.tree.map(lambda leaf: leaf[numbers], split)
        held, outs = everywhere(each, constrain(held, STAGE, ROWS), here, numbers)
        held = constrain(held, STAGE, ROWS)
        return held, (held, outs)

    nothing = constrain(jnp.zeros((count, *x_parts.shape[1:]), x.dtype), STAGE, ROWS)
    _, (given, outs) = jax.lax.scan(tick, nothing, jnp.arange(parts + count - 1))
    return _merge(given[count - 1 :, -1]), jax.tree.map(lambda leaf: _outs(leaf, parts, count), outs)


def _is_none(x: Any) -> bool:
    return x is None


def _parts(rows: int, count: int) -> int:
    """The largest number of parts that leaves every device rows of each."""
    devices = math.prod(map(axis_size, ROWS))
    fits = [parts for parts in range(1, _PARTS_PER_STAGE * count + 1) if rows % (parts * devices) == 0]
    return max(fits, default=1)


def _split(x: jax.Array, parts: int) -> jax.Array:
    """(B, ...) to (parts, B / parts, ...) by stride, so that rows stay on their device."""
    return constrain(x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), None, ROWS)


def _merge(x: jax.Array) -> jax.Array:
    """Undoes `_split`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def _outs(leaf: jax.Array, parts: int, count: int) -> jax.Array:
    """(time, stage, layer of the stage, rows of a part, ...) to (layer, B, ...): a part is late by its stage."""
    times = jnp.arange(parts)[None] + jnp.arange(count)[:, None]
    ordered = leaf[times, jnp.arange(count)[:, None]]
    ordered = jnp.moveaxis(ordered, 1, 2)
    return jax.vmap(_merge)(ordered.reshape(-1, *ordered.shape[2:]))
