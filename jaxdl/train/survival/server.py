"""A fork server: runs begin as copies of a process that has imported everything and computed nothing."""

import atexit
import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from jaxdl.errors import JaxdlError
from jaxdl.train.survival.watch import Board, Watch

Command = Callable[[], int]
_HEAVY = ("tensorflow", "torch", "array_record")  # They start threads, or their readers do not survive a fork.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """A process of a run.

    Attributes:
      process: The process.
      board: What it shows.
      output: The file of what it prints.
      order: The file of its batches.
    """

    process: ForkProcess
    board: Board
    output: Path
    order: Path


def check_fresh() -> None:
    """Raises JaxdlError where JAX has begun to compute: its threads do not live on in a copy of the process."""
    from jax._src import xla_bridge  # There is no public way to ask without starting what one asks for.

    if xla_bridge.backends_are_initialized():
        raise JaxdlError("JAX already computes in this process, so it cannot be copied: run the command by itself.")


def start(command: Command, make: Callable[[Board, Path], Watch], files: Path) -> Running:
    """Forks a process that runs a command under a watch.

    Args:
      command: Gives the exit code.
      make: Makes the watch, of a board and the file for its batches.
      files: The path of the process's files, without an ending.
    """
    board, output, order = Board(), files.with_suffix(".txt"), files.with_suffix(".order")
    process = _fork(_run, command, output, make(board, order))
    return Running(process=process, board=board, output=output, order=order)


def ask(question: Callable[[], Any]) -> Any:
    """The answer of a function, as JSON has it, that runs in a process of its own."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = _fork(_answer, question, sender)
    sender.close()
    with contextlib.suppress(EOFError):
        answer = receiver.recv_bytes()
        process.join()
        return json.loads(answer)
    process.join()
    raise JaxdlError(f"A process that compares ended with {process.exitcode} and no answer.")


def imported() -> list[str]:
    """The modules of this process that its parent may import, for `learn`."""
    return [name for name, module in sys.modules.items() if module is not None and _is_light(name)]


def learn(names: Sequence[str]) -> None:
    """Imports modules, so that the processes to come need not; what cannot be imported here is left out."""
    for name in names:
        if name not in sys.modules and _is_light(name):
            with contextlib.suppress(ImportError, AttributeError):
                importlib.import_module(name)


def _is_light(name: str) -> bool:
    return not name.startswith(_HEAVY) and name != "__main__" and name != "__mp_main__"


def _fork(target: Callable[..., None], *args: Any) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That the threads of NumPy's BLAS do not live on, which it knows.
        process.start()
    return process


def _run(command: Command, output: Path, watch: Watch) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    with _ending():
        watch.begin()
        code = command()
        _leave_the_others()
        sys.exit(code)


def _answer(question: Callable[[], Any], sender: Any) -> None:
    with _ending():
        sender.send_bytes(json.dumps(question()).encode())


def _leave_the_others() -> None:
    """Parts from the other processes of the run, which JAX leaves to the end of the interpreter."""
    import jax

    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Ends a copied process as any other ends, which `multiprocessing` leaves out."""
    try:
        yield
    finally:
        atexit._run_exitfuncs()
