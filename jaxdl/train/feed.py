"""Batches on their way to the device: streamed from the host, or gathered there from data that lives on the device."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxdl.data import Pipeline, batches, prefetch
from jaxdl.data.validation import non_finite
from jaxdl.errors import ConfigError, DataError
from jaxdl.parallel import place, replicated
from jaxdl.train.loop import chunks
from jaxdl.train.rollback import RollBack, spans
from jaxdl.types import Batch

RESIDENT_BYTES_CPU = 2**30
RESIDENT_SHARE = 0.2  # Of an accelerator's memory.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feed:
    """Training batches as the compiled step wants them.

    Attributes:
      pipeline: Where batches come from.
      mesh: Where they go.
      size: Steps a dispatch: 1, or K for a `repeated` learner.
      data: The data set on the device, for a `gathered` learner.
    """

    pipeline: Pipeline
    mesh: Mesh
    size: int = 1
    data: Mapping[str, jax.Array] | None = None

    def batches(
        self, start: int, stop: int, intervals: Sequence[int], rollbacks: Sequence[RollBack] = ()
    ) -> Generator[tuple[int, Batch], None, None]:
        """Pairs (steps taken after it, batch), made ahead of time by a thread."""
        parts = list(spans(start, stop, rollbacks))
        plan = (
            (begin, count, at + begin - first)
            for first, end, at in parts
            for begin, count in chunks(first, end, self.size, intervals)
        )
        make = self._streamed(parts) if self.data is None else self._resident()
        with contextlib.closing(prefetch(lambda _: _next(plan, make), 0)) as ahead:
            for item in ahead:
                if item is None:
                    return
                yield item

    def _streamed(self, spans: Sequence[tuple[int, int, int]]) -> Callable[[int, int], Batch]:
        """Makes the batch of a chunk from host batches, whatever their number: they must be asked for in order."""
        host = (batch for first, end, at in spans for batch in batches(self.pipeline, at, at + end - first))

        def make(number: int, count: int) -> Batch:
            if self.size == 1:
                return place(next(host), self.mesh)
            parts = [next(host) for _ in range(count)]
            parts += [parts[-1]] * (self.size - count)  # Filled up with batches that will not be read.
            stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
            return {**place(stacked, self.mesh, stacked=True), "count": np.int32(count)}

        return make

    def _resident(self) -> Callable[[int, int], Batch]:
        """Makes the batch of a chunk as the indices of its rows."""
        stacked = self.size > 1
        rows = len(self.pipeline.indices(0))
        shape = (rows,) if self.size == 1 else (self.size, rows)
        constant = {**place({"mask": np.ones(shape, np.float32)}, self.mesh, stacked=stacked), "data": self.data}

        def make(number: int, count: int) -> Batch:
            index = np.zeros((self.size, rows), np.int32)
            index[:count] = self.pipeline.indices(number, count).reshape(count, rows)
            placed = place({"index": index.reshape(shape)}, self.mesh, stacked=stacked)
            return {**placed, **constant, **({"count": np.int32(count)} if self.size > 1 else {})}

        return make


def _next(plan: Iterator[tuple[int, int, int]], make: Callable[[int, int], Batch]) -> tuple[int, Batch] | None:
    """The next of a plan of (steps before it, steps it feeds, number of its first batch)."""
    for first, count, number in plan:
        batch = make(number, count)
        sys.audit("jaxdl.batch", first, count, number, batch)  # What the learner gets, for who watches.
        return first + count, batch
    return None


def resident(pipeline: Pipeline, mesh: Mesh, choice: bool | None) -> Mapping[str, jax.Array] | None:
    """The data set on the device, whole on each; None where batches are to be streamed.

    Args:
      pipeline: Its source must offer `gather` and it must have no host transforms, or nothing can be resident.
      mesh: The devices.
      choice: True or False to decide; None to decide by size.

    Raises:
      ConfigError: `choice` is True and it cannot be.
    """
    possible = hasattr(pipeline.source, "gather") and not pipeline.transforms
    possible = possible and mesh.shape["sequence"] == 1 and pipeline.on_bad == "raise" and pipeline.window is None
    possible = possible and "mask" not in pipeline.source[0]  # A mask of the data's own must reach the batches.
    if choice is False or (choice is None and not possible):
        return None
    if not possible:
        raise ConfigError(
            "resident=True needs a source in memory (with `gather`, without `mask`), no host transforms, no window, "
            "on_bad='raise', and a mesh that does not split sequences."
        )
    gather = pipeline.source.gather  # type: ignore[attr-defined]  # checked above; a source need not have it
    row = gather(np.arange(1))
    size = sum(np.asarray(x).nbytes for x in row.values()) * len(pipeline.source)
    if choice is None and size > _budget(mesh.devices.flat[0]):
        return None
    whole = gather(np.arange(len(pipeline.source)))
    _check(pipeline, whole)
    return place_everywhere({name: np.asarray(x) for name, x in whole.items() if name != "mask"}, mesh)


def place_everywhere(arrays: Mapping[str, np.ndarray], mesh: Mesh) -> Mapping[str, jax.Array]:
    """Puts whole arrays on every device of a mesh; every process holds the same."""
    sharding = replicated(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, x, x.shape) for name, x in arrays.items()}


def _check(pipeline: Pipeline, whole: Mapping[str, np.ndarray]) -> None:
    """Raises DataError about examples that a streamed batch would refuse: on the device nothing sees them again."""
    mask = {"mask": np.ones(len(pipeline.source), np.float32)}
    problems = non_finite(whole) or (pipeline.check({**mask, **whole}) if pipeline.check is not None else [])
    if problems:
        shown = "; ".join(f"{pipeline.describe(row)}: {reason}" for row, reason in problems[:5])
        raise DataError(f"{len(problems)} of {len(pipeline.source)} examples are bad: {shown}.")


def _budget(device: jax.Device) -> float:
    stats = device.memory_stats() if device.platform != "cpu" else None
    return RESIDENT_SHARE * stats["bytes_limit"] if stats and "bytes_limit" in stats else RESIDENT_BYTES_CPU
