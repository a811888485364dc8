"""SIGTERM and SIGINT: finish the step, save, leave."""

import signal
import threading
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

from jaxdl.train.loop import Moment

INTERRUPTED = "a signal asked it to"


class StopOnSignal:
    """While entered, the first SIGTERM or SIGINT stops training at the next moment; a second one ends the process.

    Where several processes train together, a SIGTERM to any of them stops all at the same step, which JAX's
    coordination service finds. Handlers can only be set in the main thread; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._asked, self._questions = False, 0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def __call__(self, moment: Moment) -> Moment | None:
        """Stops where a signal has come."""
        return moment._replace(stop=moment.stop or INTERRUPTED) if self.asked() else None

    def asked(self) -> bool:
        """Whether to stop now. Where several processes train, all ask equally often and have the same answers."""
        if jax.process_count() > 1 and not self._asked:
            self._questions += 1
            self._asked = multihost_utils.reached_preemption_sync_point(self._questions)
        return self._asked or self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
