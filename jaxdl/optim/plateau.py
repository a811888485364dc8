"""Lowering the learning rate when a metric stops improving."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxdl.errors import ConfigError
from jaxdl.types import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlateauSettings:
    """What `reduce_on_plateau` was called with."""

    factor: float
    patience: int
    threshold: float
    threshold_mode: Literal["relative", "absolute"]
    mode: Literal["min", "max"]
    cooldown: int
    min_scale: float

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}; it must lie between 0 and 1, both excluded.")
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode is {self.mode!r}; it must be 'min' or 'max'.")
        if self.threshold_mode not in ("relative", "absolute"):
            raise ValueError(f"threshold_mode is {self.threshold_mode!r}; it must be 'relative' or 'absolute'.")
        if not 0 <= self.min_scale <= 1:
            raise ValueError(f"min_scale is {self.min_scale}; it must lie in [0, 1].")
        for name in ("patience", "threshold", "cooldown"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be zero or more.")


class PlateauState(struct.PyTreeNode):
    """What must survive a restart: four scalars."""

    scale: Array
    """float32: what the updates are multiplied by."""
    best: Array
    """float32: the best value seen."""
    bad: Array
    """int32: how many values in a row were no better."""
    cooldown: Array
    """int32: how many values are still to be ignored."""
    settings: PlateauSettings = struct.field(pytree_node=False)


def reduce_on_plateau(
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["relative", "absolute"] = "relative",
    mode: Literal["min", "max"] = "min",
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> optax.GradientTransformation:
    """Multiplies updates by a scale that falls when the values given to `observe` stop improving.

    The rule is that of `torch.optim.lr_scheduler.ReduceLROnPlateau`, whose `min_lr` is `min_scale` times the
    learning rate here. The scale is part of the optimizer state, so it is saved and restored with it.

    Args:
      factor: What the scale is multiplied by, in (0, 1).
      patience: How many values in a row may be no better; the next one lowers the scale.
      threshold: How much better than the best a value must be to count as better.
      threshold_mode: Whether `threshold` is a share of the best value or a difference.
      mode: `"min"` when lower is better, `"max"` when higher is.
      cooldown: How many values to ignore after the scale was lowered.
      min_scale: The scale never falls below this.
    """
    settings = PlateauSettings(
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,
        mode=mode,
        cooldown=cooldown,
        min_scale=min_scale,
    )

    def init(params: PyTree) -> PlateauState:
        del params
        return PlateauState(
            scale=jnp.ones((), jnp.float32),
            best=jnp.full((), math.inf if mode == "min" else -math.inf, jnp.float32),
            bad=jnp.zeros((), jnp.int32),
            cooldown=jnp.zeros((), jnp.int32),
            settings=settings,
        )

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        del params
        return jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates), state

    return optax.GradientTransformation(init, update)


def observe(opt_state: PyTree, value: Any) -> PyTree:
    """The optimizer state after one more value (a scalar) of the metric that `reduce_on_plateau` watches.

    The plateau's state is found wherever it is in `opt_state`; everything else is returned as it was. A value that
    is not a number counts as no better. Call it after each evaluation, with the same value on every host.

    Raises:
      ValueError: there is no `reduce_on_plateau` in the optimizer.
    """
    leaves, structure = jax.tree.flatten(opt_state, is_leaf=_is_plateau)
    if not any(map(_is_plateau, leaves)):
        raise ConfigError(
            "The optimizer state holds no plateau to report a value to: "
            "make the optimizer with optimizer(..., plateau=reduce_on_plateau(...))."
        )
    return jax.tree.unflatten(structure, [_next(leaf, value) if _is_plateau(leaf) else leaf for leaf in leaves])


def _is_plateau(node: Any) -> bool:
    return isinstance(node, PlateauState)


@jax.jit
def _next(state: PlateauState, value: Array) -> PlateauState:
    settings = state.settings
    value = jnp.asarray(value, jnp.float32).reshape(())
    better = _is_better(value, jnp.asarray(state.best), settings)
    ignoring = state.cooldown > 0
    bad = jnp.where(better | ignoring, 0, state.bad + 1)
    reduce = bad > settings.patience
    lowered = jnp.maximum(state.scale * settings.factor, settings.min_scale)
    return state.replace(
        scale=jnp.where(reduce, lowered, state.scale),
        best=jnp.where(better, value, state.best),
        bad=jnp.where(reduce, 0, bad).astype(jnp.int32),
        cooldown=jnp.where(reduce, settings.cooldown, state.cooldown - ignoring).astype(jnp.int32),
    )


def _is_better(value: jax.Array, best: jax.Array, settings: PlateauSettings) -> jax.Array:
    sign = 1 if settings.mode == "max" else -1
    if settings.threshold_mode == "absolute":
        return sign * value > sign * best + settings.threshold
    return sign * value > sign * best * (1 + sign * settings.threshold)
