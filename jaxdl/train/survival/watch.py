"""What a watched run does and when it is to be hit: counted inside the run by Python's auditing events."""

import dataclasses
import mmap
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from jaxdl.train.survival.order import lines

Phase = Literal["start", "restore", "step", "evaluation", "save"]
PHASES: tuple[Phase, ...] = ("start", "restore", "step", "evaluation", "save")
_FIRED, _WHERE, _BEGUN, _TAKEN, _SAVES, _COUNTS = range(6)
_FILES = (
    *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "os.truncate"),
    "shutil.rmtree",
)


class Injected(RuntimeError):
    """The error that a run is hit with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aim:
    """The moment at which a run is to be hit: the `count`-th event of a phase, from one that takes `steps` steps.

    Attributes:
      phase: Whose events count: files, imports and compilation before the first step; files of the checkpoints before
        it; calls of the step; batches of evaluations; files of the checkpoints after it.
      steps: How many steps the run must have taken by then.
      count: How many events it must have seen after them.
      latest: The number of steps after which any event will do, since the aim may never be met.
      act: `tell` who started the run; `stop`, which is to be hit by SIGKILL on the spot; or `raise` an error there.
    """

    phase: Phase
    steps: int
    count: int
    latest: int
    act: Literal["tell", "stop", "raise"]


class Board:
    """What a run shows while it goes and after it was killed, in memory that both sides share."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * (_COUNTS + len(PHASES)))).cast("q")
        self._cells[_FIRED] = self._cells[_BEGUN] = self._cells[_TAKEN] = -1

    @property
    def fired(self) -> Phase | None:
        """The phase of the event that was aimed at, once it has come."""
        return None if self._cells[_FIRED] < 0 else PHASES[self._cells[_FIRED]]

    @fired.setter
    def fired(self, phase: Phase) -> None:
        self._cells[_FIRED] = PHASES.index(phase)

    @property
    def where(self) -> Phase:
        """What the main thread is at."""
        return PHASES[self._cells[_WHERE]]

    @where.setter
    def where(self, phase: Phase) -> None:
        self._cells[_WHERE] = PHASES.index(phase)

    @property
    def begun(self) -> int | None:
        """The step that the run went on from, once it takes steps."""
        return None if self._cells[_BEGUN] < 0 else self._cells[_BEGUN]

    @property
    def taken(self) -> int | None:
        """The steps taken before the present one, those of earlier runs too; None before the first."""
        return None if self._cells[_TAKEN] < 0 else self._cells[_TAKEN]

    @taken.setter
    def taken(self, step: int) -> None:
        if self._cells[_BEGUN] < 0:
            self._cells[_BEGUN] = step
        self._cells[_TAKEN] = step

    @property
    def saves(self) -> int:
        """The checkpoints that this run has published."""
        return self._cells[_SAVES]

    @saves.setter
    def saves(self, number: int) -> None:
        self._cells[_SAVES] = number

    def count(self, phase: Phase) -> int:
        """The events of a phase so far."""
        return self._cells[_COUNTS + PHASES.index(phase)]

    def add(self, phase: Phase) -> None:
        """Counts an event."""
        self._cells[_COUNTS + PHASES.index(phase)] += 1

    def events(self) -> int:
        """All events so far."""
        return sum(self._cells[_COUNTS:])


class Watch:
    """An audit hook that counts what a run does, records its batches, and strikes at the event aimed at.

    Args:
      board: Where it shows what it sees.
      folder: The run folder.
      order: The file for the digests of batches.
      aim: When to strike, if at all.
    """

    def __init__(self, board: Board, folder: Path, order: Path, aim: Aim | None = None) -> None:
        self._board, self._aim = board, aim
        self._folder, self._checkpoints = str(folder), str(folder / "checkpoints")
        self._order = order
        self._gate = threading.Lock()
        self._left = 0 if aim is None else aim.count
        self._parent = os.getppid()

    def begin(self) -> None:
        """Watches this process from now on, to its end."""
        import jax.monitoring

        self._parent = os.getppid()
        self._record = os.open(self._order, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        jax.monitoring.register_event_listener(self._compiles)
        jax.monitoring.register_event_duration_secs_listener(self._compiles)
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Sees an auditing event."""
        if event == "jaxdl.step":
            if os.getppid() != self._parent:  # Nobody is left who would end this.
                os._exit(1)
            self._board.taken = args[0]
            self._board.where = "step"
            self._see("step", raises=True)
        elif event == "jaxdl.evaluate":
            self._board.where = "evaluation"
            self._see("evaluation", raises=True)
        elif event == "jaxdl.batch":
            os.write(self._record, "".join(lines(*args)).encode())
        elif event in _FILES:
            self._file(event, args[0])
        elif event == "import" and self._board.begun is None:
            self._see("start", raises=False)

    def _compiles(self, event: str, *values: Any, **about: Any) -> None:
        if self._board.begun is None:
            self._see("start", raises=False)

    def _file(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name.startswith(self._checkpoints):
            phase: Phase = "restore" if self._board.begun is None else "save"
            folder, base = os.path.split(name)
            self._board.saves += event == "os.rename" and folder == self._checkpoints and base.startswith("tmp-")
        elif name.startswith(self._folder) and self._board.begun is None:
            phase = "start"
        else:
            return
        if phase != "save":
            self._board.where = phase
        self._see(phase, raises=True)

    def _see(self, phase: Phase, *, raises: bool) -> None:
        self._board.add(phase)
        if self._aim is None or not self._is_due(self._aim, phase) or (self._aim.act == "raise" and not raises):
            return
        if self._gate.acquire(blocking=False):  # Once, whichever thread comes first.
            self._board.fired = phase
            if self._aim.act == "stop":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._aim.act == "raise":
                raise Injected(f"This error was put there, at an event of the phase {phase}.")

    def _is_due(self, aim: Aim, phase: Phase) -> bool:
        begun, taken = self._board.begun, self._board.taken
        steps = 0 if begun is None or taken is None else taken - begun
        if phase == aim.phase and steps >= aim.steps:
            self._left -= 1
        return self._left <= 0 or steps >= aim.latest or (begun is not None and aim.phase in ("start", "restore"))
