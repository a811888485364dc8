"""Learner -> Learner: the same functions, compiled for a mesh."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.learners import Learner, TrainState
from jaxdl.nn.placement import Axes, dividing, placed_activations
from jaxdl.parallel.mesh import AXES, batch_sharding, replicated
from jaxdl.parallel.rules import ACTIVATIONS, FULLY_SHARDED, REPLICATE, TRANSFORMER
from jaxdl.trees import Rules
from jaxdl.types import Batch, Key, PyTree


def abstract_state(learner: Learner, key: Key, batch: PyTree, mesh: Mesh, rules: Rules | None = None) -> TrainState:
    """The shapes, dtypes and shardings of a learner's state, without computing it.

    Args:
      learner: Not compiled yet.
      key: The key of the run.
      batch: Arrays or their shapes.
      mesh: From `make_mesh`.
      rules: `((regex over parameter names, value), ...)`, every parameter covered. A value is None for the whole
        parameter on every device; the name of an axis, to split the largest dimension that it divides; or for each
        dimension the name of an axis, several names, or None. What does not divide stays whole. The optimizer's state
        and averages follow the parameter that they belong to. Rules that match nothing are errors, but in the default,
        which is `TRANSFORMER` on a mesh with `tensor`, `expert` or `stage`, and full sharding over `fsdp` on one with
        that.

    Raises:
      ConfigError: a rule names an unknown axis, has more entries than a parameter has dimensions, or matches nothing.
    """
    state = jax.eval_shape(learner.init, key, batch)
    values = trees.assign(_default(mesh, state.params) if rules is None else rules, state.params, what="sharding")
    leaves = jax.tree.leaves(state.params)
    specs = {
        name: (leaf.shape, _partition(value, leaf.shape, mesh))
        for name, leaf, value in zip(trees.names(state.params), leaves, _leaves(values), strict=True)
    }

    def one(name: str, leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, _belongs(name, leaf, specs)))

    return trees.map_named(one, state)


def shard(learner: Learner, state: TrainState, mesh: Mesh, activations: Rules | None = None) -> Learner:
    """Compiles a learner for a mesh. `step` donates its state: the one passed in may not be used again.

    Args:
      learner: Not compiled yet.
      state: From `abstract_state`.
      mesh: From `make_mesh`.
      activations: `((regex over names of modules, dimensions), ...)`: how to split what modules give; see
        `jaxdl.nn.placement.placed_activations`. By default `ACTIVATIONS` on a mesh with `tensor`, `sequence`, `expert`
        or `stage`, and what the compiler makes of the parameters and batches elsewhere.

    Raises:
      ConfigError: a rule for activations could place nothing.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    everywhere = replicated(mesh)
    if activations is None:
        activations = ACTIVATIONS if _split_inside(mesh) else ()
    check_activations(activations)

    def on_mesh(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(*args: Any) -> Any:
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh), placed_activations(activations):
                return fn(*args)

        return run

    return Learner(
        init=jax.jit(on_mesh(learner.init), out_shardings=shardings),
        step=jax.jit(on_mesh(learner.step), donate_argnums=0, out_shardings=(shardings, everywhere)),
        evaluate=jax.jit(on_mesh(learner.evaluate), out_shardings=everywhere),
        predict=jax.jit(on_mesh(learner.predict), out_shardings=batch_sharding(mesh)),
    )


def _split_inside(mesh: Mesh) -> bool:
    """Whether a mesh splits more than rows and parameters."""
    return any(mesh.shape[axis] > 1 for axis in ("tensor", "sequence", "expert", "stage"))


def pmapped(learner: Learner, mesh: Mesh) -> Learner:
    """The same learner under `jax.pmap` over the axis `data`; `supervised` must be told `axis_name="data"`.

    JAX keeps pmap in maintenance only: prefer `shard`, which gives the same results and needs no axis names.
    """
    devices = list(mesh.devices.flat)

    def fold(batch: Batch) -> Batch:
        return {name: x.reshape(len(devices), -1, *x.shape[1:]) for name, x in batch.items()}

    def over_rows(fn: Any, out_axes: Any) -> Any:
        mapped = jax.pmap(fn, axis_name="data", in_axes=(None, 0), out_axes=out_axes, devices=devices)
        return lambda state, batch: mapped(state, fold(batch))

    predict = over_rows(learner.predict, 0)
    return Learner(
        init=jax.jit(learner.init, out_shardings=replicated(mesh)),
        step=over_rows(learner.step, None),
        evaluate=over_rows(learner.evaluate, None),
        predict=lambda state, batch: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), predict(state, batch)),
    )


def _default(mesh: Mesh, params: PyTree) -> Rules:
    """The rules for a mesh, without those that these parameters do not need."""
    if mesh.shape["tensor"] == mesh.shape["expert"] == mesh.shape["stage"] == 1:
        return FULLY_SHARDED if mesh.shape["fsdp"] > 1 else REPLICATE
    first = {next(rule for rule in TRANSFORMER if re.fullmatch(rule[0], name)) for name in trees.names(params)}
    return tuple(rule for rule in TRANSFORMER if rule in first)


def _leaves(values: PyTree) -> list[Any]:
    return jax.tree.leaves(values, is_leaf=lambda x: x is None or isinstance(x, str | tuple | list))


def _partition(value: Any, shape: tuple[int, ...], mesh: Mesh) -> P:
    if value is None:
        return P()
    if isinstance(value, str):
        _check_axis(value)
        fits = [i for i, size in enumerate(shape) if size % mesh.shape[value] == 0]
        largest = max(fits, key=lambda i: shape[i], default=None)
        return P(*(value if i == largest else None for i in range(len(shape))))
    if len(value) > len(shape):
        raise ConfigError(f"The sharding {tuple(value)} has more entries than the shape {shape} has dimensions.")
    _check_dimensions(value)
    return P(*(dividing(axes, size, lambda axis: mesh.shape[axis]) for axes, size in zip(value, shape)))


def check_activations(rules: Rules) -> None:
    """Refuses rules for activations that could place nothing.

    Raises:
      ConfigError: a pattern is no regular expression, or what it stands for is not a sequence of axes that exist.
    """
    trees.check_patterns(rules, what="activation")
    for pattern, dimensions in rules:
        if not isinstance(dimensions, tuple | list):
            raise ConfigError(
                f"The activation rule {pattern!r} must give an entry for each dimension, as in "
                f"(('data', 'fsdp'), 'sequence', None), not {dimensions!r}."
            )
        _check_dimensions(dimensions)


def _check_dimensions(dimensions: Sequence[Axes]) -> None:
    axes = [axis for one in dimensions for axis in ((one,) if isinstance(one, str) else one or ())]
    for axis in axes:
        _check_axis(axis)
    if len(set(axes)) < len(axes):
        raise ConfigError(f"The sharding {tuple(dimensions)} names an axis twice: it can split one dimension alone.")


def _check_axis(axis: str) -> None:
    if axis not in AXES:
        raise ConfigError(f"Unknown mesh axis {axis!r} in a sharding rule; there are {list(AXES)}.")


def idle_axes(mesh: Mesh, params: PyTree, batch: PyTree) -> list[str]:
    """The axes whose devices all do the same: `tensor` and `stage` that split no parameter, `sequence` no tokens.

    Args:
      mesh: From `make_mesh`.
      params: Shapes with their shardings, from `abstract_state`.
      batch: Arrays or shapes (B, ...).
    """
    used = {
        axis
        for leaf in jax.tree.leaves(params)
        for one in leaf.sharding.spec
        for axis in ((one,) if isinstance(one, str) else one or ())
    }
    if any(x.ndim > 1 and x.shape[1] % mesh.shape["sequence"] == 0 for x in jax.tree.leaves(batch)):
        used.add("sequence")
    return [axis for axis in ("stage", "sequence", "tensor") if mesh.shape[axis] > 1 and axis not in used]


def _belongs(name: str, leaf: Any, specs: dict[str, tuple[tuple[int, ...], P]]) -> P:
    """The partition of the parameter that a leaf of the state belongs to: the one whose name ends its own."""
    parts = name.split("/")
    for start in range(1, len(parts)):
        shape, spec = specs.get("/".join(parts[start:]), (None, P()))
        if shape == leaf.shape:
            return spec
    return P()
