"""Leaving out steps that went wrong: a loss or gradient that is not finite, or far above what it was."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.learners.learner import Learner, TrainState
from jaxdl.metrics import Mean
from jaxdl.types import Array, Batch, Key, Metrics, PyTree

_WATCHED = ("loss", "grad_norm")
_LEAST = 1e-3  # Of the mean: what a deviation counts as at least, so that rounding of a constant loss is no spike.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spikes:
    """What counts as a spike: a loss or a gradient norm above `mean + factor * deviation` of the steps before.

    Mean and mean absolute deviation are plain averages over the first `window` steps, and exponential ones with the
    weight 1 / `window` from then on. What is above the bound enters them as the bound itself, so that a spike hardly
    moves them, and a level that stays is accepted in time; what is not finite does not enter. The first `window` steps
    are not judged. A loss and a gradient norm are each compared with their own past.

    Attributes:
      factor: Deviations above the mean. For a bell curve 1 is 0.8 standard deviations.
      window: Steps.
    """

    factor: float = 8.0
    window: int = 100

    def __post_init__(self) -> None:
        if self.factor <= 0 or self.window < 2:
            raise ValueError(f"factor must be positive and window at least 2, not {self.factor} and {self.window}.")

    def start(self) -> dict[str, Array]:
        """The averages before the first step, each (2,): of the loss and of the gradient norm."""
        return {name: jnp.zeros(2, jnp.int32 if name == "count" else jnp.float32) for name in _AVERAGES}

    def judge(self, before: PyTree, metrics: Metrics) -> tuple[Array, PyTree]:
        """Whether a step is a spike, and the averages with it."""
        unknown = jnp.full((), jnp.nan)
        value = jnp.stack([metrics[name].compute() if name in metrics else unknown for name in _WATCHED])
        count, mean, deviation = (before[name] for name in _AVERAGES)
        bound = mean + self.factor * jnp.maximum(deviation, _LEAST * jnp.abs(mean))
        high = (count >= self.window) & (value > bound)
        known = jnp.isfinite(value)
        entering = jnp.where(high, bound, value)
        count = count + known
        share = 1 / jnp.clip(count, 1, self.window)
        away = jnp.where(count == 1, 0.0, jnp.abs(entering - mean))
        after = {
            "count": count,
            "mean": mean + share * (entering - mean),
            "deviation": deviation + share * (away - deviation),
        }
        return high.any(), jax.tree.map(lambda new, old: jnp.where(known, new, old), after, before)


_AVERAGES = ("count", "mean", "deviation")


def guarded(learner: Learner, *, spikes: Spikes | None = None, limit: int | None = None) -> Learner:
    """Leaves out every step whose loss or gradient is NaN, infinite or a spike: the parameters stay, the step counts.

    `extras["nonfinite"]` holds `run`, the number of such steps in a row up to now, and `first`, the step that the
    run began at. The metric `skipped` is the share of steps left out; with `spikes`, `skipped_nonfinite` and
    `skipped_spike` say for what reason.

    Args:
      learner: Of any kind; its metrics `loss` and `grad_norm` are looked at.
      spikes: What counts as a spike; without it nothing finite does.
      limit: Once a run is that long every later step is left out too, and the run grows no more: what happened then
        is the same however late it is seen.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = learner.step(state, batch)
        before = state.extras["nonfinite"]
        failed = jnp.asarray(False) if limit is None else before["run"] >= limit
        finite, spike, extras = _judged(state, metrics, spikes)
        good = finite & ~spike & ~failed
        kept = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), after.replace(key=None), state.replace(key=None)
        )
        run = jnp.where(good, 0, before["run"] + ~failed)
        first = jnp.where(~good & (before["run"] == 0), after.step, before["first"])
        metrics = {name: _only(good, metric) for name, metric in metrics.items()}
        extras = {**kept.extras, **extras, "nonfinite": {"run": run, "first": first}}
        return kept.replace(key=after.key, step=after.step, extras=extras), {
            **metrics,
            **_counts(~good, finite, spike, spikes),
        }

    return learner._replace(init=_counted(learner, spikes), step=step)


def unguarded(learner: Learner, *, spikes: Spikes | None = None, limit: int | None = None) -> Learner:
    """The states and metrics of `guarded` while nothing goes wrong, without its protection and its cost."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = learner.step(state, batch)
        finite, spike, extras = _judged(state, metrics, spikes)
        calm = {**state.extras["nonfinite"], "run": jnp.zeros((), jnp.int32)}
        after = after.replace(extras={**after.extras, **extras, "nonfinite": calm})
        return after, {**metrics, **_counts(spike, finite, spike, spikes)}

    return learner._replace(init=_counted(learner, spikes), step=step)


def checked(fast: Learner, safe: Learner, *, limit: int | None = None) -> Learner:
    """Steps as `fast` does, and where something was not finite then, or a spike, again as `safe` does.

    With `repeated(unguarded(...))` and `repeated(guarded(...))` it leaves out the same steps as the guard alone, at
    the cost of one look a call. `limit` is that of the guard.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = fast.step(state, batch)
        good = _finite(metrics) & (metrics["skipped"].total == 0)
        if limit is not None:
            good &= state.extras["nonfinite"]["run"] < limit
        return jax.lax.cond(good, lambda: (after, metrics), lambda: safe.step(state, batch))

    return safe._replace(step=step)


def _counted(learner: Learner, spikes: Spikes | None) -> Callable[[Key, Batch], TrainState]:
    def init(key: Key, batch: Batch) -> TrainState:
        state = learner.init(key, batch)
        extras: dict[str, Any] = {"nonfinite": {name: jnp.zeros((), jnp.int32) for name in ("run", "first")}}
        if spikes is not None:
            extras["spikes"] = spikes.start()
        return state.replace(extras={**state.extras, **extras})

    return init


def _judged(state: TrainState, metrics: Metrics, spikes: Spikes | None) -> tuple[Array, Array, dict[str, PyTree]]:
    """Whether a step is finite, whether it is a spike, and the averages with it where spikes are looked for."""
    if spikes is None:
        return _finite(metrics), jnp.asarray(False), {}
    spike, averages = spikes.judge(state.extras["spikes"], metrics)
    return _finite(metrics), spike, {"spikes": averages}


def _counts(skipped: Array, finite: Array, spike: Array, spikes: Spikes | None) -> Metrics:
    kinds = {} if spikes is None else {"skipped_nonfinite": Mean.of(~finite), "skipped_spike": Mean.of(finite & spike)}
    return {"skipped": Mean.of(skipped), **kinds}


def _finite(metrics: Metrics) -> Array:
    """Whether the summed loss and gradient norm are finite, where measured; opposite infinities add to NaN."""
    totals = [metrics[name].total for name in _WATCHED if name in metrics]
    return jnp.all(jnp.isfinite(jnp.asarray(totals)))


def _only(good: Array, metric: PyTree) -> PyTree:
    """The metric, or its zero where the step was left out, so that one bad step does not blot out a window."""
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.zeros_like(x)), metric)
