"""Where the arrays inside a model go, on the mesh that it is compiled for; without one nothing changes."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from jaxdl.types import PyTree

ROWS = ("data", "fsdp", "expert")
"""The axes of a mesh that the rows of a batch are split over."""
Axes = str | Sequence[str] | None
"""What one dimension is split over: an axis of the mesh, several, or none."""


def axis_size(axis: str) -> int:
    """The number of devices along an axis of the mesh that is compiled for, 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or axis not in mesh.shape else mesh.shape[axis]


def constrain(x: jax.Array, *dimensions: Axes) -> jax.Array:
    """Splits each dimension of `x` over its axes, as far as they divide it; of those left out the compiler decides."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    named = [dividing(axes, size) for axes, size in zip(dimensions, x.shape)]
    return jax.lax.with_sharding_constraint(x, P(*named, *[P.UNCONSTRAINED] * (x.ndim - len(named))))


def dividing(axes: Axes, size: int, sizes: Callable[[str], int] = axis_size) -> str | tuple[str, ...] | None:
    """Those first axes whose product divides a dimension; None where there are none."""
    names = (axes,) if isinstance(axes, str) else tuple(axes or ())
    kept: tuple[str, ...] = ()
    for name in names:
        if sizes(name) > 1 and size % math.prod(map(sizes, (*kept, name))) == 0:
            kept = (*kept, name)
    return kept[0] if len(kept) == 1 else kept or None


@contextlib.contextmanager
def placed_activations(rules: Sequence[tuple[str, Sequence[Axes]]]) -> Iterator[None]:
    """Within, what modules give is split by the first rule whose regex matches the module's whole name.

    A rule `(regex, dimensions)` places the arrays of the result that have as many dimensions: `("layers/block_0",
    (("data", "fsdp"), "sequence", None))` splits the rows and tokens of what the first layer gives. Modules inside
    layers that run as a loop or a pipeline are not seen.
    """

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> PyTree:
        result = call(*args, **kwargs)
        if context.method_name != "__call__":
            return result
        name = "/".join(context.module.path)
        dimensions = next((value for pattern, value in rules if re.fullmatch(pattern, name)), None)
        if dimensions is None:
            return result
        fits = len(dimensions)
        return jax.tree.map(lambda x: constrain(x, *dimensions) if getattr(x, "ndim", -1) == fits else x, result)

    with nn.intercept_methods(intercept):
        yield
