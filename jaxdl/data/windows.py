"""An order in which a batch holds examples of similar length, still a pure function of seed and position."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxdl.data.permutation import permutation


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Where the endless line of positions is cut.

    Attributes:
      size: Examples of an epoch.
      batch: Rows of a batch.
      window: Batches that are sorted together.
      seed: Of the order of the batches within a window.
    """

    size: int
    batch: int
    window: int
    seed: int

    def segment(self, position: int) -> tuple[int, int]:
        """The positions `[first, last)` that are sorted together with this one: a window within its epoch."""
        window, epoch = position // (self.batch * self.window), position // self.size
        first = max(window * self.batch * self.window, epoch * self.size)
        return first, min((window + 1) * self.batch * self.window, (epoch + 1) * self.size)


def by_length(
    positions: np.ndarray, order: Callable[[np.ndarray], np.ndarray], lengths: np.ndarray, cuts: Cuts
) -> np.ndarray:
    """The example at each position, where `order` is sorted by length within each segment.

    The sorted examples of a segment fill its batches in a random order. A batch that lies across two segments, at the
    end of an epoch, takes the shortest of both. So every epoch still holds each example once.

    Args:
      positions: int64 of any shape.
      order: The examples at positions of the line before sorting.
      lengths: Of each example of the source.
      cuts: Where segments and batches begin.
    """
    result = np.empty_like(positions)
    left = np.ones(positions.shape, bool)
    while left.any():
        first, last = cuts.segment(int(positions[left].min()))
        here = (positions >= first) & (positions < last)
        result[here] = _segment(first, last, order, lengths, cuts)[positions[here] - first]
        left &= ~here
    return result


def _segment(
    first: int, last: int, order: Callable[[np.ndarray], np.ndarray], lengths: np.ndarray, cuts: Cuts
) -> np.ndarray:
    examples = order(np.arange(first, last, dtype=np.int64))
    examples = examples[np.argsort(lengths[examples], kind="stable")]
    head = min(-first % cuts.batch, last - first)
    whole = (last - first - head) // cuts.batch
    tail = last - first - head - whole * cuts.batch
    batches = examples[head + tail :].reshape(whole, cuts.batch)
    shuffled = batches[permutation(whole, (cuts.seed, first))] if whole > 1 else batches
    return np.concatenate([examples[:head], shuffled.reshape(-1), examples[head : head + tail]])
