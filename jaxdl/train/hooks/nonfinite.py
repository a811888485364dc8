"""Stops a training that has gone NaN or infinite."""

from collections import deque

import jax

from jaxdl.learners import TrainState
from jaxdl.train.loop import Moment


class StopNonFinite:
    """Stops once `limit` steps in a row were left out by `guarded`, looking `lag` calls back so as not to wait.

    With several steps a call, the run that counts is the one that a call ended with.

    Args:
      limit: Steps in a row.
      lag: Calls of the learner's step whose outcome may still be on its way.
    """

    def __init__(self, limit: int, *, lag: int = 2) -> None:
        self.limit, self.lag = limit, lag
        self._waiting: deque[jax.Array] = deque()

    def __call__(self, moment: Moment) -> Moment | None:
        """Looks whether steps were left out a few calls ago, and then at the count."""
        if "skipped" not in moment.metrics:
            return None
        self._waiting.append(moment.metrics["skipped"].total)
        if len(self._waiting) <= self.lag or not float(self._waiting.popleft()):
            return None
        # The state of this moment may still be on its way, so it is waited for only where steps were left out.
        return moment._replace(stop=NON_FINITE) if has_failed(moment.state, self.limit) else None


NON_FINITE = "the loss or gradient is not finite"


def has_failed(state: TrainState, limit: int) -> bool:
    """Whether a state comes at the end of at least `limit` steps in a row that were left out."""
    return "nonfinite" in state.extras and int(state.extras["nonfinite"]["run"]) >= limit


def explain(state: TrainState) -> str:
    """What a user should know of a state at which `StopNonFinite` stopped."""
    run, first = (int(state.extras["nonfinite"][name]) for name in ("run", "first"))
    return (
        f"The loss or gradient has been NaN or infinite in {run} steps in a row, from step {first} on. Those steps "
        "were left out, so the parameters are those of the last finite step; a checkpoint of well before it may be the "
        "better start. Lower the learning rate, clip the gradient (optimizer.clip_norm), or look at the data of that "
        "step."
    )
