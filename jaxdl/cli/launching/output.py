"""What processes print, without the noise of the libraries below them."""

import os
import re
import sys
import threading
from typing import IO

# How JAX's coordination service reports that a process was lost, before it aborts: lines that begin with the first,
# and all that follow up to one that is not its own.
_LOST = re.compile(rb"[EFW]\d{4} .*\b(client\.h|(coordination_service|preemption_sync_manager)\w*\.cc):\d+\]")
_TRACE = re.compile(rb"\*\*\* Check failure")  # Of one who aborts for it; the run's own error may come between.
_ITS_OWN = re.compile(
    rb"\s*$|\d+\s*$|The tasks have crashed|RPC: |Additional GRPC|:UNKNOWN:|=== Source Location|external/xla|"
    rb"\*\*\* Check failure|\s+@ |[EF]\d{4} "
)
_PATIENCE = 10.0
_SILENT = b"stopped sending heartbeats"
_FIRST_SILENT = b"CoordinationService/Heartbeat"  # What the others ask of process 0, in vain.


class Printer:
    """Prints the lines of a process in a thread, those of all but the first with its number before them.

    Attributes:
      silent: The processes that this one says it has not heard of.
    """

    def __init__(self, process: int, stream: IO[bytes]) -> None:
        self.silent: set[int] = set()
        self._prefix = b"" if process == 0 else f"[{process}] ".encode()
        self._stream = stream
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits until all was printed, but not for whoever inherited the pipe and lives on."""
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        lost = numbers = ever = False
        with self._stream as stream:
            for line in stream:
                lost = bool(_LOST.match(line) or (lost and _ITS_OWN.match(line)) or (ever and _TRACE.match(line)))
                if lost:
                    ever = True
                    if numbers and line.strip().isdigit():
                        self.silent.add(int(line))
                    numbers = _SILENT in line or (numbers and line.strip().isdigit())
                    if line.startswith(b"RPC: ") and _FIRST_SILENT in line:
                        self.silent.add(0)
                elif not line.startswith(b"[Gloo]"):
                    os.write(sys.stdout.fileno(), self._prefix + line)
