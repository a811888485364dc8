"""Evaluations while training."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax

from jaxdl.learners import Learner, TrainState
from jaxdl.train.evaluation import evaluate, scalars
from jaxdl.train.hooks.preemption import INTERRUPTED
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
      report: Gives results of all predictions of a pass together.
    """

    name: str
    learner: Learner
    batches: Iterable[Batch]
    every: int | None
    at_end: bool = True
    report: Callable[[TrainState, Iterable[Batch]], Mapping[str, float]] | None = None

    def results(self, state: TrainState, asked: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Evaluates a state.

        Args:
          state: The model.
          asked: Called before each batch.

        Raises:
          CutShort: `asked` says yes.
        """
        values = scalars(evaluate(self.learner, state, _until(asked, self.batches)))
        return values if self.report is None else values | dict(self.report(state, _until(asked, self.batches)))

    def due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step` steps of `last`."""
        return (self.every is not None and step % self.every == 0) or (self.at_end and step == last)


class CutShort(Exception):
    """An evaluation was left before its end."""


def _until(asked: Callable[[], bool], batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        if asked():
            raise CutShort
        yield batch


class Evaluate:
    """Runs what is due, writes a row for each, and adds `name/metric` to the results of the moment.

    A signal does not wait for the end: the moment is then `unfinished`, and all that is due is evaluated again later.

    Args:
      scheduled: The evaluations.
      last: The number of steps of the whole training.
      write: Called with `(step, name, values)`.
      before: Called before a round of evaluations, to write what comes before it.
      spent: Called with the seconds that a round of evaluations took.
      asked: Called before each batch; says whether a signal asks for the end of training.
    """

    def __init__(
        self,
        scheduled: Sequence[Scheduled],
        last: int,
        write: Callable[[int, str, Mapping[str, float]], None],
        before: Callable[[], None] = lambda: None,
        spent: Callable[[float], None] = lambda seconds: None,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._scheduled, self._last, self._write = scheduled, last, write
        self._before, self._spent, self._asked = before, spent, asked

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
            try:
                values = one.results(moment.state, self._asked)
            except CutShort:
                return moment._replace(stop=moment.stop or INTERRUPTED, unfinished=True)
            self._write(moment.step, one.name, values)
            results |= {f"{one.name}/{metric}": value for metric, value in values.items()}
        self._spent(time.perf_counter() - began)
        return moment._replace(results=results)
