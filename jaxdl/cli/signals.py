"""SIGTERM while a command does not train: before its first step, and after its last."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jaxdl.errors import Preempted


@contextlib.contextmanager
def preempted_by_sigterm() -> Iterator[None]:
    """While entered, SIGTERM raises Preempted where it arrives; a second one ends the process.

    While a run trains, `jaxdl.train` takes the signal over and saves; where several processes train, JAX does from when
    they have met. Before and after there is nothing to save but what is on its way, which the error waits for.
    """
    if threading.current_thread() is not threading.main_thread():  # Handlers can only be set there.
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Preempted("Interrupted while no step was under way. What was saved is kept; run the same command to go on.")
