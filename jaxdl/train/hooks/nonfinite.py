"""Stops a training that has gone NaN or infinite."""

from collections import deque

import jax

from jaxdl.learners import TrainState
from jaxdl.train.loop import Moment


class StopNonFinite:
    """Stops once `limit` steps in a row were left out by `guarded`, looking `lag` calls back so as not to wait.

    Args:
      limit: Steps in a row.
      lag: Calls of the learner's step whose outcome may still be on its way.
    """

    def __init__(self, limit: int, *, lag: int = 2) -> None:
        self.limit, self.lag = limit, lag
        self._waiting: deque[tuple[jax.Array, jax.Array]] = deque()
        self._run = 0.0

    def __call__(self, moment: Moment) -> Moment | None:
        """Counts the steps left out."""
        if "skipped" not in moment.metrics:
            return None
        skipped = moment.metrics["skipped"]
        self._waiting.append((skipped.total, skipped.weight))
        if len(self._waiting) <= self.lag:
            return None
        total, weight = (float(x) for x in self._waiting.popleft())
        self._run = self._run + total if total == weight else total
        return moment._replace(stop=NON_FINITE) if self._run >= self.limit else None

    def state(self) -> dict[str, float]:
        """What to save with a checkpoint: the calls still waiting are counted in."""
        run = self._run
        for total, weight in self._waiting:
            run = run + float(total) if float(total) == float(weight) else float(total)
        return {"run": run}

    def restore(self, state: dict[str, float]) -> None:
        """Goes on from what `state` returned."""
        self._run = state["run"]


NON_FINITE = "the loss or gradient is not finite"


def explain(state: TrainState) -> str:
    """What a user should know of a state at which `StopNonFinite` stopped."""
    run, first = (int(state.extras["nonfinite"][name]) for name in ("run", "first"))
    return (
        f"The loss or gradient has been NaN or infinite in {run} steps in a row, from step {first} on. Those steps "
        "were left out, so the parameters and the last checkpoint are sound. "
        "Lower the learning rate, clip the gradient "
        "(optimizer.clip_norm), or look at the data of that step."
    )
