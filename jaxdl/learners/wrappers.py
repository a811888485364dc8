"""Learner -> Learner, as Optax's wrappers are transformation -> transformation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl import rng
from jaxdl.errors import ConfigError
from jaxdl.learners.learner import Learner, TrainState
from jaxdl.metrics import add
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
