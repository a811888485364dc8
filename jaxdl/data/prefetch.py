"""Work that runs ahead of its consumer."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(
    fetch: Callable[[int], T], start: int, stop: int | None = None, *, depth: int = 2, workers: int = 1
) -> Generator[T, None, None]:
    """Yields `fetch(start), fetch(start + 1), ...` in order, computed ahead by background threads.

    Whatever should overlap with the consumer belongs into `fetch`: reading, stacking, the transfer to a device.
    An error of `fetch(n)` is raised, with its traceback, when the consumer asks for item n; the items before it
    arrive. Closing the iterator (`contextlib.closing`) drops what has not begun and waits for what has.

    Args:
      fetch: With one worker it is called for one step after the other, never twice at a time.
      start: The first step.
      stop: One past the last step; None for no end.
      depth: How many finished or running items may wait for the consumer.
      workers: Threads. More than `depth` cannot all be busy.

    Raises:
      ValueError: `depth` or `workers` is below 1.
    """
    if depth < 1 or workers < 1:
        raise ValueError(f"prefetch needs depth >= 1 and workers >= 1, not depth={depth} and workers={workers}.")
    return _run_ahead(fetch, start, stop, depth, workers)


def _run_ahead(
    fetch: Callable[[int], T], step: int, stop: int | None, depth: int, workers: int
) -> Generator[T, None, None]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    waiting: deque[Future[T]] = deque()
    try:
        while True:
            # One more than `depth`: the item that the consumer holds next leaves the queue first.
            while len(waiting) <= depth and (stop is None or step < stop):
                waiting.append(pool.submit(fetch, step))
                step += 1
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
