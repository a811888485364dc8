"""jaxdl launch."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

from jaxdl.cli.flags import positive
from jaxdl.cli.processes import free_port
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True
_POLL = 0.1
_GRACE = 30.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    places = parser.add_subparsers(dest="where", required=True, metavar="WHERE")
    local = places.add_parser("local", help="processes of this machine")
    local.add_argument("--processes", type=positive, required=True, metavar="N", help="how many")
    local.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    local.add_argument("command", nargs=argparse.REMAINDER, metavar="train ...", help="what each of them runs")


def run(options: argparse.Namespace) -> int:
    """Runs a command as several processes of this machine, which train together."""
    words = [word for word in options.command if word != "--"]
    if not words or words[0] != "train":
        raise ConfigError("Say what to launch: jaxdl launch local --processes 2 train --config ... --workdir ...")
    words += [f"--config.{override}" for override in options.overrides]
    commands = local_commands(words, options.processes, free_port())
    if options.dry_run:
        print("\n".join(shlex.join(["jaxdl", *command[3:]]) for command in commands))
        return 0
    return _together(commands)


def local_commands(words: Sequence[str], processes: int, port: int) -> list[list[str]]:
    """The command of each process; only the first one is not quiet."""
    where = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes)]
    return [[sys.executable, "-m", "jaxdl", *words, *where, "--process", str(number)] for number in range(processes)]


def _together(commands: Sequence[Sequence[str]]) -> int:
    """Runs the commands; where one fails the others are stopped. The exit code is that of the first to fail."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for command in commands]
    printers = [threading.Thread(target=_print, args=(i, one.stdout), daemon=True) for i, one in enumerate(running)]
    for printer in printers:
        printer.start()

    def forward(number: int, frame: FrameType | None) -> None:
        _stop(running[:1], signal.SIGTERM)  # The processes tell one another, and stop at the same step.

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        failed = None
        while None in (codes := [one.poll() for one in running]):
            if failed is None and any(codes):
                failed = next(code for code in codes if code)
                threading.Thread(target=_end, args=(running,), daemon=True).start()
            time.sleep(_POLL)
        failed = failed or next((code for code in codes if code), 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _stop(running, signal.SIGKILL)
    for printer in printers:
        printer.join()
    return 128 - failed if failed < 0 else failed


def _end(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Gives the others time to save, as after a preemption, and then ends them."""
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and any(one.poll() is None for one in running):
        time.sleep(_POLL)
    _stop(running, signal.SIGKILL)


def _stop(running: Sequence["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    for one in running:
        if one.poll() is None:
            one.send_signal(number)


def _print(process: int, stream: IO[bytes] | None) -> None:
    """Prints the lines of a process, those of all but the first with its number before them."""
    prefix = b"" if process == 0 else f"[{process}] ".encode()
    for line in stream or ():
        if not line.startswith(b"[Gloo]"):
            os.write(sys.stdout.fileno(), prefix + line)
