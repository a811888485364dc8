"""Evaluations while training."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax

from jaxdl.learners import Learner, TrainState
from jaxdl.train.evaluation import evaluate, scalars
from jaxdl.train.loop import Moment
from jaxdl.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheduled:
    """One evaluation and when it is due.

    Attributes:
      name: Of the data, such as `test`.
      learner: Compiled.
      batches: One pass over the data each time that it is iterated.
      every: Steps between evaluations; None for only at the end.
      at_end: Whether it is due after the last step.
      report: Gives results of all predictions together.
    """

    name: str
    learner: Learner
    batches: Iterable[Batch]
    every: int | None
    at_end: bool = True
    report: Callable[[TrainState], Mapping[str, float]] | None = None

    def results(self, state: TrainState) -> dict[str, float]:
        """Evaluates a state."""
        values = scalars(evaluate(self.learner, state, self.batches))
        return values if self.report is None else values | dict(self.report(state))

    def due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step` steps of `last`."""
        return (self.every is not None and step % self.every == 0) or (self.at_end and step == last)


class Evaluate:
    """Runs what is due, writes a row for each, and adds `name/metric` to the results of the moment.

    Args:
      scheduled: The evaluations.
      last: The number of steps of the whole training.
      write: Called with `(step, name, values)`.
      before: Called before a round of evaluations, to write what comes before it.
      spent: Called with the seconds that a round of evaluations took.
    """

    def __init__(
        self,
        scheduled: Sequence[Scheduled],
        last: int,
        write: Callable[[int, str, Mapping[str, float]], None],
        before: Callable[[], None] = lambda: None,
        spent: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._scheduled, self._last, self._write = scheduled, last, write
        self._before, self._spent = before, spent

    def __call__(self, moment: Moment) -> Moment | None:
        """Evaluates what is due."""
        due = [one for one in self._scheduled if one.due(moment.step, self._last)]
        if not due:
            return None
        self._before()
        jax.block_until_ready(moment.state)  # Or the steps still on their way would count as evaluation.
        began = time.perf_counter()
        results = dict(moment.results)
        for one in due:
            values = one.results(moment.state)
            self._write(moment.step, one.name, values)
            results |= {f"{one.name}/{metric}": value for metric, value in values.items()}
        self._spent(time.perf_counter() - began)
        return moment._replace(results=results)
