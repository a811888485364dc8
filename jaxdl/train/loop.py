"""The training loop, which knows nothing but a learner, batches and hooks."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax

from jaxdl.learners import Learner, TrainState
from jaxdl.types import Batch, Metrics


class Moment(NamedTuple):
    """What is known between two calls of the learner's step.

    Attributes:
      step: The number of steps taken.
      state: The state after them. It is donated to the next call: read it now, or copy it.
      metrics: The summed metrics of the steps since the moment before, still on the device.
      results: What was evaluated at this moment, such as `{"test/accuracy": 0.98}`.
      stop: Why training ends here, where it does.
      unfinished: Whether a signal cut its evaluations short. The rest of the hooks see it when training goes on.
    """

    step: int
    state: TrainState
    metrics: Metrics
    results: Mapping[str, float] = MappingProxyType({})
    stop: str | None = None
    unfinished: bool = False


Hook = Callable[[Moment], Moment | None]
"""Sees each moment, and may return another for the hooks after it and for the loop."""


def fit(
    learner: Learner,
    batches: Iterable[tuple[int, Batch]],
    state: TrainState,
    *,
    hooks: Sequence[Hook] = (),
    in_flight: int = 2,
) -> Moment:
    """Trains on `batches` until they end or a hook sets `stop`; returns the last moment.

    Each call of the learner's step is announced by the auditing event `jaxdl.step`, with the steps taken before it.

    Args:
      learner: Its `step` may take one step or several a call.
      batches: Pairs of the number of steps taken after a batch, and the batch.
      state: Where to begin.
      hooks: Called in order after every call of the learner's step.
      in_flight: How many calls may be queued on the device; more only delays errors and signals, and on virtual
        CPU devices an unbounded queue deadlocks.
    """
    moment = Moment(step=int(state.step), state=state, metrics={})
    queue: deque[Metrics] = deque()
    for step, batch in batches:
        sys.audit("jaxdl.step", moment.step)
        state, metrics = learner.step(moment.state, batch)
        queue.append(metrics)
        if len(queue) > in_flight:
            jax.block_until_ready(queue.popleft())
        moment = Moment(step=step, state=state, metrics=metrics)
        moment = see(moment, hooks)
        if moment.stop:
            break
    return moment


def see(moment: Moment, hooks: Iterable[Hook]) -> Moment:
    """Shows a moment to hooks in order; returns what they make of it."""
    for hook in hooks:
        moment = hook(moment) or moment
    return moment


def when_finished(hook: Hook) -> Hook:
    """The hook, but for moments whose evaluations were cut short: those it sees when they are taken up again."""
    return lambda moment: None if moment.unfinished else hook(moment)


def chunks(start: int, stop: int, size: int, intervals: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Pairs (first step, number of steps) of at most `size` that never cross a multiple of any interval.

    >>> list(chunks(0, 10, 4, [5]))
    [(0, 4), (4, 1), (5, 4), (9, 1)]
    """
    intervals = tuple(intervals)
    while start < stop:
        ends = [start + size, stop, *(start + interval - start % interval for interval in intervals)]
        yield start, min(ends) - start
        start = min(ends)
