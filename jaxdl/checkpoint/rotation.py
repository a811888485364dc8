"""Which checkpoints stay: the newest, and the best by a metric."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """Keeps the `k` checkpoints with the best value of a metric, beside the newest.

    A checkpoint without the metric, or with NaN, is never among the best; of equal values the earliest step is better.
    """

    metric: str
    mode: Literal["min", "max"] = "max"
    k: int = 1

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {self.mode!r}.")
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}.")

    def ranked(self, metrics: Mapping[int, Mapping[str, float]]) -> list[int]:
        """The steps that have the metric, best first.

        >>> BestOf(metric="loss", mode="min").ranked({10: {"loss": 0.5}, 20: {"loss": 0.2}, 30: {}})
        [20, 10]
        """
        sign = 1.0 if self.mode == "min" else -1.0
        values = {step: values[self.metric] for step, values in metrics.items() if self.metric in values}
        finite = {step: sign * value for step, value in values.items() if not math.isnan(value)}
        return sorted(finite, key=lambda step: (finite[step], step))


def retained(metrics: Mapping[int, Mapping[str, float]], *, keep: int | None, best: BestOf | None) -> set[int]:
    """The steps to keep: the newest `keep` (all for None) and the best.

    >>> sorted(retained({1: {"a": 9.0}, 2: {"a": 3.0}, 3: {"a": 4.0}}, keep=1, best=BestOf(metric="a")))
    [1, 3]
    """
    newest_first = sorted(metrics, reverse=True)
    kept = set(newest_first if keep is None else newest_first[:keep])
    return kept | set(best.ranked(metrics)[: best.k] if best else ())
