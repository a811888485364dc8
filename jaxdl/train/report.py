"""Results of all predictions of a pass together, for what does not add over batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxdl.learners import Learner, TrainState
from jaxdl.learners.wrappers import rows
from jaxdl.types import Batch

Predictions = Iterable[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]
"""Pairs (what the task decoded, the batch) of numpy arrays (B, ...), without rows of padding."""

Report = Callable[[Predictions], Mapping[str, float]]
"""Results by name. A report may say `names`, those that it gives, and `signatures`, the exact definition by name."""


@runtime_checkable
class Resampling(Protocol):
    """A report whose results are functions of sums over examples, and so have bootstrap intervals at no great cost."""

    def statistics(self, predictions: Predictions) -> np.ndarray:
        """What is summed: a row of float64 for each example."""
        ...

    def values(self, sums: np.ndarray) -> Mapping[str, float]:
        """The results of the sum of the rows."""
        ...


def predictions(
    learner: Learner, decode: Callable[[Any], Any], state: TrainState, batches: Iterable[Batch]
) -> Iterator[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]:
    """What a model says of each example of a pass, once; every process gets all of it.

    Args:
      learner: Compiled.
      decode: The task's.
      state: The model.
      batches: Of one pass, as `learner` takes them.
    """
    decode, gather = jax.jit(decode), jax.jit(rows)
    for batch in batches:
        seen = gather(batch) if "data" in batch else dict(batch)
        decoded, seen = _fetched((decode(learner.predict(state, batch)), seen))
        real = seen["mask"] != 0
        yield jax.tree.map(lambda leaf, real=real: leaf[real], (decoded, seen))


def _fetched(tree: Any) -> Any:
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(tree, tiled=True)


def bootstrap(
    report: Resampling, statistics: np.ndarray, *, replicates: int, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals (Koehn 2004) of the results that a report gives."""
    random = np.random.default_rng(seed)
    size = len(statistics)
    draws = [report.values(random.multinomial(size, np.full(size, 1 / size)) @ statistics) for _ in range(replicates)]
    tail = (1 - level) / 2
    found = {}
    for name in draws[0] if draws else ():
        low, high = np.quantile([draw[name] for draw in draws], [tail, 1 - tail])
        found[name] = (float(low), float(high))
    return found
