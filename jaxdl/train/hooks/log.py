"""The training log: exact means over windows of steps, read without making the device wait."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.learners import TrainState
from jaxdl.metrics import add
from jaxdl.optim import learning_rate_at
from jaxdl.train.evaluation import scalars
from jaxdl.train.loop import Moment
from jaxdl.train.plain import Plain, from_plain, read, to_plain
from jaxdl.types import Metrics

_add = jax.jit(add)


class Log:
    """Writes a row for every window of `every` steps.

    Args:
      every: Steps in a window.
      write: Called with `(step, values)`; the speed of training is under names that begin with `time/`.
      last: The number of steps of the whole training, after which a row is written too.
      clock: Seconds, of any origin.
    """

    def __init__(
        self,
        every: int,
        write: Callable[[int, dict[str, float]], None],
        *,
        last: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.every, self._write, self._last_step, self._clock = every, write, last, clock
        self._window: Metrics | None = None
        self._saved: Plain = ()
        self._waiting: deque[tuple[int, float, Metrics, Any]] = deque()
        self._last: tuple[int, float] | None = None

    def __call__(self, moment: Moment) -> None:
        """Adds to the window, and writes windows whose values have arrived."""
        self._flush(newer_than=1)
        self._window = self._merged(moment.metrics)
        if moment.step % self.every == 0 or moment.step == self._last_step or moment.stop:
            self._waiting.append((moment.step, self._clock(), self._window, _rate(moment.state)))
            self._window = None

    def flush(self) -> None:
        """Writes all complete windows, waiting for the device."""
        self._flush(newer_than=0)

    def skip_time(self, seconds: float) -> None:
        """Leaves out of the speed the time that went into something else, such as an evaluation."""
        if self._last is not None:
            self._last = (self._last[0], self._last[1] + seconds)

    def start(self, step: int) -> None:
        """Measures speed from now on."""
        self._last = (step, self._clock())

    def state(self) -> dict[str, Any]:
        """The sums of the window so far, to save with a checkpoint."""
        return {"window": self._saved or to_plain(self._window)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned.

        Raises:
          ValueError: its window is not what it had been.
        """
        read(state["window"])
        self._saved = state["window"]

    def _merged(self, metrics: Metrics) -> Metrics:
        if self._saved:  # Where the metrics are no longer the same, the window begins here.
            self._window, self._saved = from_plain(self._saved, metrics), ()
        return metrics if self._window is None else _add(self._window, metrics)

    def _flush(self, *, newer_than: int) -> None:
        while len(self._waiting) > newer_than:
            step, now, window, rate = self._waiting.popleft()
            values = scalars(window)
            if rate is not None:
                values["learning_rate"] = float(rate)
            if self._last is not None and now > self._last[1]:
                values["time/steps_per_second"] = (step - self._last[0]) / (now - self._last[1])
            self._last = (step, now)
            self._write(step, values)


def _rate(state: TrainState) -> jax.Array | None:
    """A copy of the learning rate, since the state is donated to the next step; None with a foreign optimizer."""
    try:
        return jnp.copy(learning_rate_at(state.opt_state))
    except ValueError:
        return None
