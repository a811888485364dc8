"""What several processes must agree on; with one process these cost nothing."""

from concurrent.futures import Future, wait
from typing import Any

import jax
import numpy as np

_ROUND = 1.0  # Seconds between two looks at the others.


def any_process(condition: bool) -> bool:
    """Whether a condition holds on some process; all processes call this together."""
    if jax.process_count() == 1:
        return condition
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.int32(condition))))


def any_failed(job: Future[Any]) -> bool:
    """Waits until a job of each process is done, or one has failed, and says which; all processes call this together.

    The others are not waited for once one has failed: they may wait for what the failed one did not do.
    """
    if jax.process_count() == 1:
        return job.exception() is not None
    from jax.experimental import multihost_utils

    while True:
        done = bool(wait([job], timeout=_ROUND).done)
        failed = done and job.exception() is not None
        found = np.asarray(multihost_utils.process_allgather(np.array([done, failed]))).reshape(-1, 2)
        if found[:, 1].any() or found[:, 0].all():
            return bool(found[:, 1].any())


def from_first(value: int) -> int:
    """The first process's value (below 2**31) on every process; all processes call this together."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def together(name: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
