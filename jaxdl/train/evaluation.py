"""One exact pass over held-out data."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdl import rng, trees
from jaxdl.data import Pipeline, once, prefetch
from jaxdl.learners import Learner, TrainState
from jaxdl.metrics import add
from jaxdl.parallel import place
from jaxdl.types import Batch, Metrics, PyTree

RESAMPLED = "@resampled"
"""What the names of bootstrapped metrics end in."""
_RESAMPLED_SIZE = 10_000

_add = jax.jit(add)


def evaluate(learner: Learner, state: TrainState, batches: Iterable[Batch]) -> Metrics:
    """The summed metrics over all of `batches`, exact however they are padded or sharded.

    Raises:
      ValueError: there is no batch.
    """
    total = None
    for batch in batches:
        sys.audit("jaxdl.evaluate")  # Watchers of runs, such as `jaxdl verify resume`, count batches by it.
        metrics = learner.evaluate(state, batch)
        total = metrics if total is None else _add(total, metrics)
        jax.block_until_ready(metrics)
    if total is None:
        raise ValueError("There is nothing to evaluate on.")
    return total


def read(metrics: Metrics) -> dict[str, Any]:
    """The value of each metric: a float where it is a scalar, else an array."""
    values = {name: np.asarray(metric.compute()) for name, metric in jax.device_get(metrics).items()}
    return {name: float(value) if value.ndim == 0 else value for name, value in values.items()}


def scalars(metrics: Metrics) -> dict[str, float]:
    """The values of the metrics that are scalars."""
    return {name: value for name, value in read(metrics).items() if isinstance(value, float)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
    """Evaluation batches on the device; iterating reads the data once, in order.

    Attributes:
      pipeline: Where batches come from.
      mesh: Where they go.
      data: The data set on the device, for a `gathered` learner.
    """

    pipeline: Pipeline
    mesh: Mesh
    data: Mapping[str, jax.Array] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self.data is None:
            host = once(self.pipeline)
            count = self.pipeline.num_batches
            yield from prefetch(lambda _: place(next(host), self.mesh), 0, count)
        else:
            for rows in _index_batches(self.pipeline):
                yield {**place(rows, self.mesh), "data": self.data}


def _index_batches(pipeline: Pipeline) -> Iterator[Batch]:
    """What `once` would read, as indices: this shard's rows, the last batch filled up with masked ones."""
    size, (part, parts) = len(pipeline.source), pipeline.shard
    rows = pipeline.batch_size // parts
    for first in range(0, size, pipeline.batch_size):
        index = first + part * rows + np.arange(rows)
        yield {"index": np.minimum(index, size - 1).astype(np.int32), "mask": (index < size).astype(np.float32)}


def numbered(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches with their place in the pass, as a `resampled` learner needs them."""
    for number, batch in enumerate(batches):
        yield {**batch, "number": np.int32(number)}


def resampled(learner: Learner, replicates: int) -> Learner:
    """Evaluates under `replicates` Poisson bootstrap weights too (Chamandy et al., 2012).

    The metric `name@resampled` holds the sums of `name` with a leading axis of replicates. Batches need
    `number`, their place in the pass. Additive metrics make this exact whatever the batches.
    """

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        batch = dict(batch)
        number, mask = batch.pop("number"), batch["mask"]
        key = rng.stream(state.key, "bootstrap", number)
        weights = jax.random.poisson(key, 1.0, (replicates, mask.shape[0])).astype(jnp.float32) * mask[None]
        metrics = learner.evaluate(state, batch)

        def small(mask: jax.Array) -> PyTree:
            found = learner.evaluate(state, {**batch, "mask": mask})
            return {name + RESAMPLED: m for name, m in found.items() if trees.count(m) <= _RESAMPLED_SIZE}

        return {**metrics, **jax.vmap(small)(weights)}

    return learner._replace(evaluate=evaluate)


def intervals(metrics: Metrics, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of the scalar metrics that a `resampled` learner gave."""
    tail = (1 - level) / 2
    found = {}
    for name, metric in jax.device_get(metrics).items():
        if name.endswith(RESAMPLED):
            values = np.asarray(jax.vmap(lambda m: m.compute())(metric))
            if values.ndim == 1:
                low, high = np.quantile(values, [tail, 1 - tail])
                found[name.removesuffix(RESAMPLED)] = (float(low), float(high))
    return found
