"""Learner -> Learner, as Optax's wrappers are transformation -> transformation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl import rng
from jaxdl.errors import ConfigError
from jaxdl.learners.learner import Learner, TrainState
from jaxdl.metrics import Mean, add
from jaxdl.types import Batch, Key, Metrics, PyTree

Augmentation = Callable[[Key, Batch], Batch]


def augmented(learner: Learner, augment: Augmentation, *, axis_name: str | None = None) -> Learner:
    """Trains on `augment(key, batch)`, with a key of its own at every step, and on each device of a mapped axis."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = rng.distinct(rng.stream(state.key, "augment", state.step), axis_name)
        return learner.step(state, augment(key, batch))

    return learner._replace(step=step)


def averaged(learner: Learner, decay: float) -> Learner:
    """Evaluates and predicts with an exponential moving average of the parameters and batch statistics.

    The average warms up: at step t the decay is min(decay, (1 + t) / (10 + t)), so that early evaluations are
    not those of the initial parameters.

    Raises:
      ConfigError: `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ConfigError(f"The decay of the average must be in [0, 1), not {decay}.")

    def init(key: Key, batch: Batch) -> TrainState:
        state = learner.init(key, batch)
        return state.replace(extras={**state.extras, "average": jax.tree.map(jnp.copy, _averages(state))})

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = learner.step(state, batch)
        count = after.step.astype(jnp.float32)
        share = 1 - jnp.minimum(decay, (1 + count) / (10 + count))

        def average(mean: jax.Array, new: jax.Array) -> jax.Array:
            return (mean + share * (new - mean)).astype(mean.dtype) if jnp.issubdtype(mean.dtype, jnp.floating) else new

        mean = jax.tree.map(average, state.extras["average"], _averages(after))
        return after.replace(extras={**after.extras, "average": mean}), metrics

    def smooth(state: TrainState) -> TrainState:
        return state.replace(**state.extras["average"])

    return Learner(
        init=init,
        step=step,
        evaluate=lambda state, batch: learner.evaluate(smooth(state), batch),
        predict=lambda state, batch: learner.predict(smooth(state), batch),
    )


def _averages(state: TrainState) -> dict[str, PyTree]:
    return {"params": state.params, "model_state": state.model_state}


def guarded(learner: Learner) -> Learner:
    """Leaves out every step whose loss or gradient is NaN or infinite: the parameters stay, the step counts.

    `extras["nonfinite"]` holds `run`, the number of such steps in a row up to now, and `first`, the step that the
    run began at; the metric `skipped` is the share of steps left out.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = learner.step(state, batch)
        finite = _finite(metrics)
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), after.replace(key=None), state.replace(key=None)
        )
        before = state.extras["nonfinite"]
        run = jnp.where(finite, 0, before["run"] + 1)
        count = {"run": run, "first": jnp.where(run == 1, after.step, before["first"])}
        metrics = {name: _only(finite, metric) for name, metric in metrics.items()}
        kept = kept.replace(key=after.key, step=after.step, extras={**kept.extras, "nonfinite": count})
        return kept, {**metrics, "skipped": Mean.of(~finite)}

    return learner._replace(init=_counted(learner), step=step)


def unguarded(learner: Learner) -> Learner:
    """The states and metrics of `guarded`, without its protection and its cost."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = learner.step(state, batch)
        calm = {**state.extras["nonfinite"], "run": jnp.zeros((), jnp.int32)}
        return after.replace(extras={**after.extras, "nonfinite": calm}), {**metrics, "skipped": Mean.of(jnp.zeros(()))}

    return learner._replace(init=_counted(learner), step=step)


def checked(fast: Learner, safe: Learner) -> Learner:
    """Steps as `fast` does, and where the loss or gradient was not finite then, again as `safe` does.

    With `repeated(unguarded(...))` and `repeated(guarded(...))` it leaves out the same steps as the guard alone, at
    the cost of one look a call.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, metrics = fast.step(state, batch)
        return jax.lax.cond(_finite(metrics), lambda: (after, metrics), lambda: safe.step(state, batch))

    return safe._replace(step=step)


def _counted(learner: Learner) -> Callable[[Key, Batch], TrainState]:
    def init(key: Key, batch: Batch) -> TrainState:
        state = learner.init(key, batch)
        count = {name: jnp.zeros((), jnp.int32) for name in ("run", "first")}
        return state.replace(extras={**state.extras, "nonfinite": count})

    return init


def _finite(metrics: Metrics) -> jax.Array:
    """Whether the summed loss and gradient norm are finite, where measured; opposite infinities add to NaN."""
    totals = [metrics[name].total for name in ("loss", "grad_norm") if name in metrics]
    return jnp.all(jnp.isfinite(jnp.asarray(totals)))


def _only(finite: jax.Array, metric: PyTree) -> PyTree:
    """The metric, or its zero where the step was left out, so that one bad step does not blot out a window."""
    return jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), metric)


def rows(batch: Batch) -> Batch:
    """The rows (B, ...) of a batch `{"data": {name: (N, ...)}, "index": (B,), "mask": (B,)}`."""
    return {name: jnp.take(x, batch["index"], axis=0, mode="clip") for name, x in batch["data"].items()} | {
        "mask": batch["mask"]
    }


def gathered(learner: Learner) -> Learner:
    """Takes batches that name the rows of data on the device, and gathers their `rows` there."""
    return Learner(
        init=lambda key, batch: learner.init(key, rows(batch)),
        step=lambda state, batch: learner.step(state, rows(batch)),
        evaluate=lambda state, batch: learner.evaluate(state, rows(batch)),
        predict=lambda state, batch: learner.predict(state, rows(batch)),
    )


def repeated(learner: Learner) -> Learner:
    """Takes several steps a call, which then costs the dispatch of one: most of the time of a small model's step.

    Batches are (K, B, ...) but for `data`, which all steps share; `count` of them are trained on, at most K, so that
    any number of steps runs one compiled program. The metrics of the steps are added.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        stacked = {name: x for name, x in batch.items() if name not in ("data", "count")}
        shared = {name: x for name, x in batch.items() if name == "data"}

        def take(i: jax.Array | int) -> Batch:
            return {
                **shared,
                **{name: jax.lax.dynamic_index_in_dim(x, i, keepdims=False) for name, x in stacked.items()},
            }

        def body(i: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = carry
            state, new = learner.step(state, take(i))
            return state, add(metrics, new)

        _, shapes = jax.eval_shape(learner.step, state, take(0))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.fori_loop(0, batch["count"], body, (state, zeros))

    return learner._replace(step=step)
