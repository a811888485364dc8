"""The end of a training that no longer moves, such as one that waits for a read that never returns."""

import contextlib
import faulthandler
import sys
from collections.abc import Iterator
from typing import Any

_SIGNS_OF_LIFE = ("jaxdl.step", "jaxdl.evaluate")
_STANDARD_ERROR = 2  # Its number: it works when Python's own streams do not.


@contextlib.contextmanager
def ended_when_stuck(seconds: float | None) -> Iterator[None]:
    """Ends the process with code 1 once it has taken a step and then none, nor a batch of an evaluation, for so long.

    What each thread was at goes to standard error. The clock runs outside of Python: it also ends a process that waits
    in a collective for one that is stuck, or whose interpreter is.
    """
    if seconds is None:
        yield
        return
    entered = True

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if entered and event in _SIGNS_OF_LIFE:
            faulthandler.dump_traceback_later(seconds, exit=True, file=_STANDARD_ERROR)

    sys.addaudithook(hear)  # It cannot be taken away again.
    try:
        yield
    finally:
        entered = False
        faulthandler.cancel_dump_traceback_later()
