"""The optimizer: clipping, penalties, an update rule, weight decay and the learning rate, in a fixed order."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.errors import ConfigError
from jaxdl.optim.schedules import Schedule
from jaxdl.trees import Rules, assign
from jaxdl.types import Array, PyTree


class OptimizerState(NamedTuple):
    """The state of `optimizer`."""

    step: Array
    """int32: how many updates were made."""
    learning_rate: Array
    """float32: what the last update was multiplied by (before the first: what it will be)."""
    rule: PyTree
    plateau: PyTree


def optimizer(
    *,
    rule: optax.GradientTransformation,
    learning_rate: float | Schedule = 1e-3,
    weight_decay: float | Rules = 0.0,
    learning_rate_multipliers: Rules = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
    l1: float | Rules = 0.0,
    l2: float | Rules = 0.0,
    max_norm: float | None = None,
    plateau: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """One update: `parameter - learning_rate(step) * multiplier * (rule(gradient) + weight_decay * parameter)`.

    In this order: the gradient is clipped; the penalties' gradients are added to it; the rule makes a direction of it;
    the decoupled weight decay is added; the multiplier, the learning rate of this step (the first is step 0) and the
    plateau's scale are multiplied in; what came out is subtracted from the parameter; the norm is limited.
    All of it is computed in float32 at least, and states are float32, whatever the type of the parameters.

    `weight_decay`, `l1` and `l2` are a number or rules. A number applies to every parameter except vectors and
    scalars, which are biases and the scales of normalisations. Rules `((regex, value), ...)` apply as written,
    must cover every parameter, and may not match nothing; this is checked in `init`. `((".*", value),)` decays all.

    Args:
      rule: A direction of the gradient's sign, without learning rate: `adam()` and the others of `jaxdl.optim`, or
        any `optax.scale_by_*`. Not `optax.adam(learning_rate)`, which already holds both.
      learning_rate: A number, or a function of the step such as `cosine(...)`.
      weight_decay: Decoupled (Loshchilov and Hutter, 2019): added after the rule, hence times the learning rate.
      learning_rate_multipliers: Rules for a factor per parameter, such as `layerwise(...)`; empty for 1 throughout.
        A factor is a number or a function of the step, such as `unfreeze_at(...)`. While it is 0 the parameter stays
        exactly as it is, weight decay and `max_norm` included; its gradient still counts for `clip_norm` and for
        the moments of the rule, which are then those of the recent gradients when it begins to move. (What never
        trains belongs in the experiment's `frozen`, which saves the gradient too.)
      clip_norm: The largest norm of all gradients together; larger ones are scaled down to it.
      clip_value: The largest absolute value of an element, limited before the norm is.
      l1: The penalty `l1 * sum(abs(parameter))`, through the gradient.
      l2: The penalty `l2 / 2 * sum(parameter ** 2)`, through the gradient (torch's `weight_decay` outside AdamW).
      max_norm: The largest norm of the weights into one output unit (Srivastava et al., 2014, section 5.1): of
        every parameter with two axes or more, over all axes but the last.
      plateau: `reduce_on_plateau(...)`, or None.

    Raises:
      ValueError: a number is out of range (here), or rules do not fit the parameters or the rule points downhill
        already (in `init`).
      TypeError: `rule` or `plateau` is no optax transformation.
    """
    settings = _Settings(
        rule=rule,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        learning_rate_multipliers=learning_rate_multipliers,
        clip_norm=clip_norm,
        clip_value=clip_value,
        l1=l1,
        l2=l2,
        max_norm=max_norm,
        plateau=plateau,
    )
    check_direction = functools.cache(functools.partial(_check_direction, rule))

    def init(params: PyTree) -> OptimizerState:
        if jax.tree.leaves(params):  # optax.tree_map_params asks with a stand-in that has none
            settings.check(params)
            check_direction()
        return _init(settings, params)

    return optax.GradientTransformationExtraArgs(init, functools.partial(_update, settings))


def learning_rate_at(opt_state: PyTree) -> Array:
    """The learning rate of the last update, a float32 scalar, out of any tree that holds an `OptimizerState`.

    Raises:
      ValueError: there is none.
    """
    for node in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, OptimizerState)):
        if isinstance(node, OptimizerState):
            return node.learning_rate
    raise ValueError("The optimizer state was not made by jaxdl.optim.optimizer, so it holds no learning rate.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings:
    """What `optimizer` was called with."""

    rule: optax.GradientTransformation
    learning_rate: float | Schedule
    weight_decay: float | Rules
    learning_rate_multipliers: Rules
    clip_norm: float | None
    clip_value: float | None
    l1: float | Rules
    l2: float | Rules
    max_norm: float | None
    plateau: optax.GradientTransformation | None

    def __post_init__(self) -> None:
        _check_transformation("rule", self.rule)
        if self.plateau is not None:
            _check_transformation("plateau", self.plateau)
        for name in ("weight_decay", "l1", "l2", "learning_rate_multipliers"):
            _check_strength(name, getattr(self, name))
        for name in ("clip_norm", "clip_value", "max_norm"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} is {limit!r}; it must be above zero, or None for no limit.")
        if not callable(self.learning_rate):
            _check_number("learning_rate", self.learning_rate)

    def check(self, params: PyTree) -> None:
        """Finds rules that do not fit the parameters."""
        for what, strength in (("weight decay", self.weight_decay), ("l1", self.l1), ("l2", self.l2)):
            _strengths(strength, params, what=what)
        _multipliers(self.learning_rate_multipliers, params, jnp.zeros((), jnp.int32))

    def rate(self, step: Array) -> jax.Array:
        """The learning rate at a step, before the plateau's scale."""
        value = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        return jnp.asarray(value, float)


def _init(settings: _Settings, params: PyTree) -> OptimizerState:
    step = jnp.zeros((), jnp.int32)
    plateau = () if settings.plateau is None else settings.plateau.init(params)
    return OptimizerState(step, settings.rate(step), settings.rule.init(_at_least_float32(params)), plateau)


def _update(
    settings: _Settings, updates: PyTree, state: OptimizerState, params: PyTree | None = None, **extra: Any
) -> tuple[PyTree, OptimizerState]:
    if params is None:
        raise ValueError("The update needs the parameters: update(gradients, opt_state, params).")
    params = _at_least_float32(params)
    updates = _clip(_at_least_float32(updates), settings.clip_value, settings.clip_norm)
    updates = _add_scaled(updates, params, _strengths(settings.l1, params, what="l1"), jnp.sign)
    updates = _add_scaled(updates, params, _strengths(settings.l2, params, what="l2"))
    updates, rule = optax.with_extra_args_support(settings.rule).update(updates, state.rule, params, **extra)
    updates = _add_scaled(updates, params, _strengths(settings.weight_decay, params, what="weight decay"))
    rate, plateau = settings.rate(state.step), state.plateau
    if settings.plateau is not None:
        rate, plateau = settings.plateau.update(rate, plateau)
    multipliers = _multipliers(settings.learning_rate_multipliers, params, state.step)
    updates = jax.tree.map(lambda u, factor: u * (-factor * rate).astype(u.dtype), updates, multipliers)
    if settings.max_norm is not None:
        limit = settings.max_norm
        updates = jax.tree.map(lambda u, p: _limit_norm(p + u, limit) - p, updates, params)
    updates = jax.tree.map(_unless_zero, multipliers, updates)
    return updates, OptimizerState(optax.safe_increment(state.step), rate, rule, plateau)


def _at_least_float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), tree)


def _clip(updates: PyTree, value: float | None, norm: float | None) -> PyTree:
    if value is not None:
        updates = jax.tree.map(lambda u: jnp.clip(u, -value, value), updates)
    if norm is not None:
        updates, _ = optax.clip_by_global_norm(norm).update(updates, optax.EmptyState())
    return updates


def _add_scaled(
    updates: PyTree, params: PyTree, strengths: PyTree, term: Callable[[jax.Array], jax.Array] = lambda p: p
) -> PyTree:
    """Adds `strength * term(parameter)`, and nothing at all where the strength is zero."""
    return jax.tree.map(lambda u, p, strength: u + strength * term(p) if strength else u, updates, params, strengths)


def _limit_norm(weights: jax.Array, limit: float) -> jax.Array:
    if weights.ndim < 2:
        return weights
    norms = jnp.sqrt(jnp.sum(jnp.square(weights), axis=tuple(range(weights.ndim - 1)), keepdims=True))
    return weights * jnp.where(norms > limit, limit / jnp.where(norms > limit, norms, 1), 1)


def _strengths(strength: float | Rules, params: PyTree, *, what: str) -> PyTree:
    """The strength for each parameter: by rules, or the number for all that have two axes or more."""
    if isinstance(strength, Sequence):
        return assign(strength, params, what=what)
    return jax.tree.map(lambda leaf: float(strength) if leaf.ndim > 1 else 0.0, params)


def _multipliers(rules: Rules, params: PyTree, step: Array) -> PyTree:
    """The factor for each parameter at a step: a number, or an array where it is a function of the step."""
    if not rules:
        return jax.tree.map(lambda _: 1.0, params)
    chosen = assign(rules, params, what="learning-rate multiplier")
    return jax.tree.map(lambda factor: jnp.asarray(factor(step), float) if callable(factor) else factor, chosen)


def _unless_zero(factor: float | jax.Array, update: jax.Array) -> jax.Array:
    """The update, and exactly nothing while the factor is zero: neither a limited norm nor infinity times zero."""
    if isinstance(factor, jax.Array):
        return jnp.where(factor == 0, jnp.zeros_like(update), update)
    return update if factor else jnp.zeros_like(update)


def _check_transformation(name: str, value: Any) -> None:
    if not isinstance(value, optax.GradientTransformation):
        raise TypeError(
            f"{name} is {value!r}; it must be an optax transformation, the result of a call such as "
            f"{'jaxdl.optim.adam()' if name == 'rule' else 'jaxdl.optim.reduce_on_plateau()'}."
        )


def _check_strength(name: str, strength: float | Rules) -> None:
    if not isinstance(strength, Sequence):
        _check_number(name, strength)
        return
    for entry in strength:
        if isinstance(entry, str) or len(entry) != 2 or not isinstance(entry[0], str):
            raise ValueError(f"{name} holds {entry!r}; a rule is a pair (regular expression, number).")
        try:
            re.compile(entry[0])
        except re.error as error:
            raise ValueError(f"{name} holds {entry[0]!r}, which is not a regular expression: {error}.") from error
        if not (name == "learning_rate_multipliers" and callable(entry[1])):
            _check_number(f"{name} of {entry[0]!r}", entry[1])


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < math.inf):
        raise ValueError(f"{name} is {value!r}; it must be a finite number, zero or more.")


def _check_direction(rule: optax.GradientTransformation) -> None:
    """Tries the rule once, on two numbers: an optimizer that subtracts already would climb here."""

    def probe() -> jax.Array:
        ones = {"probe": jnp.ones(2)}
        direction, _ = optax.with_extra_args_support(rule).update(ones, rule.init(ones), ones)
        return jnp.sum(direction["probe"])

    with jax.ensure_compile_time_eval():
        along_gradient = float(jax.jit(probe)())
    if along_gradient < 0:
        raise ConfigError(
            "The rule turns the gradient around, so that the optimizer would climb: it is probably a whole optimizer "
            "such as optax.adam(learning_rate). Give a rule without learning rate, such as jaxdl.optim.adam() or "
            "optax.scale_by_adam()."
        )
