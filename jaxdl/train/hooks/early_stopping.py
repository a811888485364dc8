"""Early stopping."""

import math
from typing import Any, Literal

from jaxdl.train.loop import Moment


class EarlyStopping:
    """Stops when a result has not improved for a while (Prechelt, 1998), and gives back the best state.

    Args:
      metric: The result to watch, such as `"test/loss"`.
      mode: Whether smaller or larger is better.
      patience: The number of evaluations in a row without improvement after which training stops.
      min_delta: What counts as an improvement: more than this.
      restore_best: Whether the state at the end is that of the best evaluation; its checkpoint is then kept. Where
        the experiment's `saving.best` is set, that result decides which is the best.
    """

    def __init__(
        self,
        metric: str,
        *,
        mode: Literal["min", "max"],
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if patience < 1 or min_delta < 0 or mode not in ("min", "max"):
            raise ValueError(
                f"patience {patience} must be at least 1, min_delta {min_delta} not negative, mode min or max."
            )
        self.metric, self.patience, self.min_delta, self.mode = metric, patience, min_delta, mode
        self.restore_best = restore_best
        self.best: float | None = None
        self.bad = 0

    def __call__(self, moment: Moment) -> Moment | None:
        """Counts evaluations without improvement."""
        if self.metric not in moment.results:
            return None
        value = moment.results[self.metric]
        if self._improves(value):
            self.best, self.bad = value, 0
            return None
        self.bad += 1
        if self.bad < self.patience:
            return None
        return moment._replace(stop=f"{self.metric} has not improved on {self.best} for {self.bad} evaluations")

    def state(self) -> dict[str, Any]:
        """What to save with a checkpoint."""
        return {"best": self.best, "bad": self.bad}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` returned.

        Raises:
          ValueError: it returned something else.
        """
        best, bad = state["best"], state["bad"]
        if not (best is None or type(best) in (int, float)) or type(bad) is not int or bad < 0:
            raise ValueError(f"the best result and the count of worse ones cannot be {best!r} and {bad!r}")
        self.best, self.bad = best, bad

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta
