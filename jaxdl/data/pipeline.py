"""Batches as a pure function of the step: the step is all there is to save."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

import numpy as np

from jaxdl.data import examples
from jaxdl.data.permutation import SHORT, permutation, permute
from jaxdl.data.validation import Problems, non_finite
from jaxdl.data.windows import Cuts, by_length
from jaxdl.errors import DataError
from jaxdl.types import Source

NumpyBatch = dict[str, np.ndarray]
"""Arrays (B, ...) by name, with `mask` (B,) float32: 1 for a real row, 0 for padding and for a bad example."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`pipeline[step]` is the batch of that step: shuffled, transformed, checked, and the same on every run.

    The examples form one endless line of positions, epoch after epoch; batch n holds the positions from
    `n * batch_size` on. Every epoch holds each example exactly once, in another order, so a batch may hold the end
    of one epoch and the beginning of the next. The order and each example's randomness depend on the seed and the
    position alone: neither the number of threads, of processes nor of shards changes a batch.

    A source with `gather`, and no transforms, is read by one gather per batch, without work per example.

    Attributes:
      source: Anything with `__len__` and `__getitem__(index) -> Example`.
      batch_size: Rows of the global batch, over all shards.
      transforms: Applied to each example in turn: an object with `random_map(example, rng)` or `map(example)`
        (`grain.transforms`), or a function of the example.
      shuffle: False gives the source's own order, again and again.
      seed: Chooses the orders and the randomness of transforms; at least 0.
      threads: Threads that make examples; None means one per processor.
      processes: Worker processes for `batches`; 0 means none. `pipeline[step]` itself never starts one.
      on_bad: What to do about a bad example (unreadable, of another shape or dtype than the rest, not finite, or
        refused by `check`): `"raise"` a `DataError` that names it, or `"skip"` it: its row is zero and its mask 0.
      check: `check(batch) -> [(row, reason), ...]`, such as `task.check`.
      shard: `(index, count)`: this pipeline gives the rows `index` of `count` equal parts of each batch.
      window: Batches whose examples are sorted by length before they are cut into batches again, in another order, so
        that a batch holds examples of similar length and needs little padding; see `jaxdl.data.windows`. The source
        must offer `lengths` (N,) and pad in `gather(indices, within)` to what the examples `within` need; transforms
        there can be none. Batches then differ in shape, and a learner is compiled once for each.

    Raises:
      DataError: the source is empty.
      ValueError: a field is out of its range.
    """

    source: Source
    batch_size: int
    transforms: tuple[Any, ...] = ()
    shuffle: bool = True
    seed: int = 0
    threads: int | None = None
    processes: int = 0
    on_bad: Literal["raise", "skip"] = "raise"
    check: Callable[[NumpyBatch], Problems] | None = None
    shard: tuple[int, int] = (0, 1)
    window: int | None = None

    def __post_init__(self) -> None:
        if len(self.source) < 1:
            raise DataError(f"The source is empty: {type(self.source).__name__} has no examples.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}.")
        part, parts = self.shard
        if not 0 <= part < parts:
            raise ValueError(f"shard must be (index, count) with 0 <= index < count, not {self.shard}.")
        if self.batch_size % parts:
            raise ValueError(f"batch_size {self.batch_size} does not divide into {parts} equal shards.")
        if self.on_bad not in ("raise", "skip"):
            raise ValueError(f"on_bad must be 'raise' or 'skip', not {self.on_bad!r}.")
        if self.seed < 0 or self.processes < 0 or (self.threads is not None and self.threads < 1):
            raise ValueError(
                "seed and processes must be at least 0 and threads at least 1 (or None), not "
                f"seed={self.seed}, processes={self.processes}, threads={self.threads}."
            )
        if self.window is not None:
            if self.window < 1 or not self.shuffle:
                raise ValueError(f"window must be at least 1 and needs shuffle=True, not {self.window}.")
            if self.transforms or not (hasattr(self.source, "gather") and hasattr(self.source, "lengths")):
                raise ValueError("A window needs a source with `gather` and `lengths`, and no transforms.")

    def __getitem__(self, step: int) -> NumpyBatch:
        """The rows of this shard in the batch of a step; it costs the same at any step."""
        positions = self._positions(step, 1)
        if self.window is None:
            return _build(self, self.order(positions), positions)
        # All shards of a batch must be of one width, so each looks at the whole batch.
        whole = self.order(np.arange(self.batch_size, dtype=np.int64) + step * self.batch_size)
        return _build(self, whole[self._rows()], positions, whole)

    @property
    def steps_per_epoch(self) -> float:
        """Training steps in one pass over the source; rarely a whole number."""
        return len(self.source) / self.batch_size

    @property
    def num_batches(self) -> int:
        """The batches of one pass by `once`, the last of them padded."""
        return -(-len(self.source) // self.batch_size)

    def indices(self, step: int, steps: int = 1) -> np.ndarray:
        """Which examples this shard reads at `step`, int64 (B,); for `steps` in a row, (steps * B,)."""
        return self.order(self._positions(step, steps))

    def order(self, positions: np.ndarray) -> np.ndarray:
        """The example at each position (int64 of any shape) of the endless line."""
        if self.window is not None:
            positions = np.asarray(positions, np.int64)
            return by_length(positions, self._unsorted, self.source.lengths, self._cuts)  # type: ignore[attr-defined]
        return self._unsorted(positions)

    @property
    def _cuts(self) -> Cuts:
        return Cuts(len(self.source), self.batch_size, self.window or 1, self.seed)

    def _unsorted(self, positions: np.ndarray) -> np.ndarray:
        size = len(self.source)
        epochs, offsets = np.divmod(np.asarray(positions, np.int64), size)
        if not self.shuffle or size == 1:
            return offsets
        distinct = sorted(set(epochs.reshape(-1).tolist()))
        if len(distinct) == 1:
            return self._shuffled(offsets, distinct[0])
        result = np.empty_like(offsets)
        for epoch in distinct:
            here = epochs == epoch
            result[here] = self._shuffled(offsets[here], epoch)
        return result

    def _shuffled(self, offsets: np.ndarray, epoch: int) -> np.ndarray:
        size, key = len(self.source), (self.seed, epoch)
        if size > SHORT:
            return permute(offsets, size, key)
        return permutation(size, key)[offsets].astype(np.int64)

    def describe(self, index: int) -> str:
        """The file or record behind an example, where the source knows it."""
        return examples.describe(self.source, index)

    def _positions(self, step: int, steps: int) -> np.ndarray:
        if step < 0:
            raise IndexError(f"There is no step {step}: steps count from 0.")
        firsts = np.arange(step, step + steps, dtype=np.int64)[:, None] * self.batch_size
        return (firsts + self._rows()).reshape(-1)

    def _rows(self) -> np.ndarray:
        part, parts = self.shard
        rows = self.batch_size // parts
        return np.arange(part * rows, (part + 1) * rows, dtype=np.int64)

    @functools.cached_property
    def _layout(self) -> examples.Layout:
        """The shape and dtype of every field: those of the source's first good example, for every shard alike."""
        return examples.find_layout(self.source, self.transforms, self.seed, skip=self.on_bad == "skip")


def once(pipeline: Pipeline) -> Generator[NumpyBatch, None, None]:
    """One pass over the source in its own order.

    The last batch is filled up by repeating the last example, with mask 0.
    """
    size = len(pipeline.source)
    for first in range(0, size, pipeline.batch_size):
        indices = first + pipeline._rows()
        real = indices < size
        read = indices[real] if real.any() else np.array([size - 1])
        batch = _build(pipeline, read, read)
        if not real.all():
            rows = np.minimum(np.arange(len(indices)), len(read) - 1)
            batch = {name: value[rows] for name, value in batch.items()}
            batch["mask"] *= real
        yield batch


def batches(pipeline: Pipeline, start: int = 0, stop: int | None = None) -> Generator[NumpyBatch, None, None]:
    """Yields `pipeline[start], pipeline[start + 1], ...`, made in worker processes where `pipeline.processes` says so.

    Close the iterator (`contextlib.closing`) to end the workers before the last batch.
    """
    if pipeline.processes:
        from jaxdl.data.workers import in_processes

        iterator = in_processes(pipeline.__getitem__, start, stop, processes=pipeline.processes)
        with contextlib.closing(iterator):
            yield from iterator
        return
    step = start
    while stop is None or step < stop:
        yield pipeline[step]
        step += 1


def fingerprint(pipeline: Pipeline, step: int) -> str:
    """A hash of which examples the global batch of a step holds, in order; equal for any number of shards."""
    whole = dataclasses.replace(pipeline, shard=(0, 1))
    return hashlib.sha256(whole.indices(step).astype("<i8").tobytes()).hexdigest()[:16]


def _build(
    pipeline: Pipeline, indices: np.ndarray, positions: np.ndarray, within: np.ndarray | None = None
) -> NumpyBatch:
    gather = getattr(pipeline.source, "gather", None)
    errors: dict[int, Exception] = {}
    if gather is not None and not pipeline.transforms:
        rows = gather(indices) if within is None else gather(indices, within)
        batch = {name: np.asarray(value) for name, value in rows.items()}
    else:
        make = functools.partial(examples.make, pipeline.source, pipeline.transforms, pipeline.seed)
        batch, errors = examples.stack(make, indices, positions, pipeline._layout, pipeline.threads)
    problems = {row: str(error) for row, error in errors.items()}
    for row, reason in non_finite(batch):
        problems.setdefault(row, reason)
    batch["mask"] = np.array(batch["mask"] if "mask" in batch else np.ones(len(indices)), np.float32)
    batch["mask"][list(problems)] = 0
    for row, reason in pipeline.check(batch) if pipeline.check else ():
        problems.setdefault(int(row), reason)
    if problems:
        _refuse(pipeline, indices, problems, errors)
        rows = sorted(problems)
        batch = {name: _zeroed(value, rows) for name, value in batch.items()}
    return batch


def _refuse(pipeline: Pipeline, indices: np.ndarray, problems: dict[int, str], errors: dict[int, Exception]) -> None:
    """Raises about bad rows, unless they may be skipped and good ones remain."""
    row = min(problems)
    where = f"{pipeline.describe(int(indices[row]))}: {problems[row]}."
    others = f" {len(problems) - 1} more of the {len(indices)} rows are bad." if len(problems) > 1 else ""
    if pipeline.on_bad == "raise":
        message = f"{where}{others} Repair or remove it, or train without such examples by on_bad='skip'."
        raise DataError(message) from errors.get(row)
    if len(problems) == len(indices) >= examples.TOO_MANY_BAD:
        raise DataError(f"{where} All {len(indices)} rows of the batch are bad.") from errors.get(row)


def _zeroed(value: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    value = value.copy()  # It may be a view of the source.
    value[rows] = 0
    return value
