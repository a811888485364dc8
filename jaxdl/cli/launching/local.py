"""Processes of this machine, which talk over the loopback interface."""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from jaxdl.cli.flags import positive
from jaxdl.cli.launching.output import Printer
from jaxdl.cli.processes import free_port

_POLL = 0.1
_GRACE = 30.0
Process = subprocess.Popen[bytes]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this place."""
    parser.add_argument("--processes", type=positive, required=True, metavar="N", help="how many")


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Runs the processes and waits for them, or prints their commands."""
    commands = local_commands(words, options.processes, free_port())
    if options.dry_run:
        print("\n".join(shlex.join(["jaxdl", *command[3:]]) for command in commands))
        return 0
    return _together(commands)


def local_commands(words: Sequence[str], processes: int, port: int) -> list[list[str]]:
    """The command of each process."""
    where = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes)]
    return [[sys.executable, "-m", "jaxdl", *words, *where, "--process", str(number)] for number in range(processes)]


def _together(commands: Sequence[Sequence[str]]) -> int:
    """Runs the commands; where one fails the others are stopped. The exit code is that of the first to fail."""
    # In groups of their own, so that Ctrl-C reaches the launcher alone, and what they started ends with them.
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0)
        for command in commands
    ]
    printers = [Printer(number, one.stdout) for number, one in enumerate(running) if one.stdout is not None]
    asked: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            _stop(running[:1], signal.SIGTERM)  # The processes tell one another, and stop at the same step.
        else:
            _kill(running)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        failed = _first_failure(running)
        if failed is not None:
            lost = _end(running, printers)
            if lost and len(asked) < 2:
                told = f"{', '.join(lost)}; all were ended. Run the same command again to go on."
                print(f"jaxdl launch: {told}", file=sys.stderr)
    finally:
        _kill(running)
        for number, handler in before.items():
            signal.signal(number, handler)
    for printer in printers:
        printer.join()
    code = 0 if failed is None else failed
    return 128 - code if code < 0 else code


def _first_failure(running: Sequence[Process]) -> int | None:
    """Waits until all have ended well, or one has not; returns its code."""
    while True:
        codes = [one.poll() for one in running]
        failures = [code for code in codes if code]
        if failures:
            return min(failures, key=lambda code: code == -signal.SIGABRT)  # Who aborts has lost another.
        if None not in codes:
            return None
        time.sleep(_POLL)


def _end(running: Sequence[Process], printers: Sequence[Printer]) -> list[str]:
    """Gives the others time to save, as after a preemption, and then ends them; returns who was lost, and how."""
    deadline = time.monotonic() + _GRACE
    killed = [number for number, one in enumerate(running) if one.poll() == -signal.SIGKILL]
    while time.monotonic() < deadline:
        silent = {number for printer in printers for number in printer.silent}
        waited = [number for number, one in enumerate(running) if one.poll() is None]
        if all(number in silent or _is_stopped(running[number]) for number in waited):
            break
        time.sleep(_POLL)
    left = [number for number, one in enumerate(running) if one.poll() is None]
    _kill(running)
    lost = [f"process {number} was ended by SIGKILL" for number in killed]
    return lost + [f"process {number} does not answer" for number in left]


def _is_stopped(one: Process) -> bool:
    """Whether a process does not run, for a SIGSTOP or a debugger; only Linux tells."""
    try:
        return Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def _stop(running: Sequence[Process], number: signal.Signals) -> None:
    for one in running:
        if one.poll() is None:
            one.send_signal(number)


def _kill(running: Sequence[Process]) -> None:
    """Ends the processes, and the workers that they started."""
    for one in running:
        if one.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
