"""Batches made by other processes."""

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any


def in_processes(
    fetch: Callable[[int], Any], start: int, stop: int | None, *, processes: int
) -> Generator[Any, None, None]:
    """Yields `fetch(start), fetch(start + 1), ...` in order, each made by one of `processes` worker processes.

    The workers are Grain's, started anew (never forked), so a script needs the `if __name__ == "__main__"` guard.
    They end when the iterator is closed, and within seconds of the death of this process.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads its flags, which only programs under absl.app have parsed.
    steps = grain.MapDataset.range(start, sys.maxsize if stop is None else stop)
    dataset = steps.map(_Fetch(fetch=fetch, parent=os.getpid()))
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    workers = grain.multiprocessing.MultiprocessingOptions(num_workers=processes)
    iterator = iter(dataset.to_iter_dataset(options).mp_prefetch(workers))
    with contextlib.closing(iterator):
        yield from iterator


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fetch:
    """`fetch`, and a watch over the parent that starts with the first call in a worker."""

    fetch: Callable[[int], Any]
    parent: int

    def __call__(self, step: int) -> Any:
        if os.getpid() != self.parent and not any(t.name == "parent-watch" for t in threading.enumerate()):
            threading.Thread(target=_exit_with, args=(self.parent,), name="parent-watch", daemon=True).start()
        return self.fetch(int(step))


def _exit_with(parent: int) -> None:
    """Ends this process when it has lost its parent: a killed parent cannot end it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
