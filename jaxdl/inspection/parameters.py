"""The parameters of a model as a table."""

import dataclasses
import re
from collections.abc import Sequence

import jax

from jaxdl import trees
from jaxdl.inspection.table import table
from jaxdl.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One array of parameters.

    Attributes:
      name: Such as `encoder/block_0/dense/kernel`.
      shape: Its shape.
      dtype: The name of its type.
      bytes: Its size, on all devices together if it is split over them.
      trainable: Whether no frozen pattern matches it.
      sharding: The mesh axis that each dimension is split over, or None; empty for the whole array on every device;
        None where it lies on no mesh.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    trainable: bool
    sharding: tuple[str | tuple[str, ...] | None, ...] | None

    @property
    def count(self) -> int:
        """The number of scalars."""
        return trees.count(jax.ShapeDtypeStruct(self.shape, self.dtype))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters whose names begin alike, together.

    Attributes:
      name: What they begin with.
      parameters: The number of scalars.
      trainable: Those that no frozen pattern matches.
      bytes: Their size.
    """

    name: str
    parameters: int
    trainable: int
    bytes: int


def parameters(params: PyTree, frozen: Sequence[str] = ()) -> tuple[Parameter, ...]:
    """The parameters of a tree of arrays or shapes, in its order.

    Args:
      params: Its leaves may carry shardings.
      frozen: Regexes over the names of those that do not train.
    """
    return tuple(
        Parameter(
            name=name,
            shape=tuple(leaf.shape),
            dtype=str(leaf.dtype),
            bytes=leaf.size * leaf.dtype.itemsize,
            trainable=not any(re.fullmatch(pattern, name) for pattern in frozen),
            sharding=_sharding(leaf),
        )
        for name, leaf in trees.flatten(params).items()
    )


def grouped(rows: Sequence[Parameter], depth: int = 1) -> tuple[Group, ...]:
    """The parameters by the first `depth` parts of their names, in the order of their first ones."""
    groups: dict[str, list[Parameter]] = {}
    for row in rows:
        groups.setdefault("/".join(row.name.split("/")[:depth]), []).append(row)
    return tuple(_group(name, members) for name, members in groups.items())


def parameter_table(rows: Sequence[Parameter]) -> str:
    """A line for each parameter."""
    header = ["parameter", "shape", "count", "dtype", "sharding", ""]
    lines = [
        [
            row.name,
            " x ".join(map(str, row.shape)) or "scalar",
            f"{row.count:,}",
            row.dtype,
            _sharding_text(row),
            "trainable" if row.trainable else "frozen",
        ]
        for row in rows
    ]
    if all(row.sharding is None for row in rows):
        header, lines = _without(header, 4), [_without(line, 4) for line in lines]
    return table(header, lines, right=("count",))


def group_table(rows: Sequence[Parameter], depth: int = 1) -> str:
    """A line for each group, and one for all."""
    header = ("group", "parameters", "trainable", "bytes")
    groups = [*grouped(rows, depth), _group("total", rows)]
    lines = [(group.name, f"{group.parameters:,}", f"{group.trainable:,}", f"{group.bytes:,}") for group in groups]
    return table(header, lines, right=header[1:])


def _group(name: str, rows: Sequence[Parameter]) -> Group:
    return Group(
        name=name,
        parameters=sum(row.count for row in rows),
        trainable=sum(row.count for row in rows if row.trainable),
        bytes=sum(row.bytes for row in rows),
    )


def _sharding(leaf: jax.Array | jax.ShapeDtypeStruct) -> tuple[str | tuple[str, ...] | None, ...] | None:
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return None
    return tuple(sharding.spec) if any(axis is not None for axis in sharding.spec) else ()


def _sharding_text(row: Parameter) -> str:
    if not row.sharding:
        return "" if row.sharding is None else "whole"
    axes = ["+".join(axis) if isinstance(axis, tuple) else axis or "-" for axis in row.sharding]
    return " x ".join([*axes, *["-"] * (len(row.shape) - len(axes))])


def _without(cells: Sequence[str], index: int) -> list[str]:
    return [*cells[:index], *cells[index + 1 :]]
