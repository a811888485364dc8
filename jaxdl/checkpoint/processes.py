"""What several processes must agree on; with one process these cost nothing."""

import jax
import numpy as np


def any_process(condition: bool) -> bool:
    """Whether a condition holds on some process; all processes call this together."""
    if jax.process_count() == 1:
        return condition
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.int32(condition))))


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
