"""Trains a run once without a kill and again and again with many, and compares."""

import dataclasses
import functools
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from jaxdl.checkpoint.restore import committed_steps
from jaxdl.errors import JaxdlError
from jaxdl.train.folder import RunFolder
from jaxdl.train.rollback import RollBack, batch_number
from jaxdl.train.survival import compare, order, server
from jaxdl.train.survival.compare import Difference
from jaxdl.train.survival.kills import Hit, Kill, Kind, Profile, draw, unexpected
from jaxdl.train.survival.watch import PHASES, Aim, Board, Watch
from jaxdl.train.writers import read_rows

Launch = Callable[[Path], Sequence[server.Command]]
"""The commands, one a process, that train together in a run folder, from nothing or from where it was left."""
PATIENCE = 50
_POLL = 0.002
_STILL = 300.0  # Seconds without any event after which a run is taken to hang.
_SAVING = 120.0  # Seconds for a run to save after SIGTERM.
_GRACE = 10.0  # Seconds for the others to end after one was killed.
_PARTING = 60.0  # Seconds without any event, in which a process with an error must end: it parts from the others first.
_TAIL = 3000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """An uninterrupted run, read.

    Attributes:
      folder: Of the run.
      rows: Of its log.
      order: The digests of its batches.
      rollbacks: How it went back.
      profile: What it is made of.
      processes: How many trained it.
      seconds: How long it took.
    """

    folder: Path
    rows: list[dict[str, object]]
    order: order.Order
    rollbacks: tuple[RollBack, ...] = ()
    profile: Profile
    processes: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Where a killed run parted from the uninterrupted one: what differs, and after which kills."""

    differences: tuple[Difference, ...]
    hits: tuple[Hit, ...]
    folder: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """A run that was killed several times and came to its end with nothing amiss."""

    hits: tuple[Hit, ...]


def reference(launch: Launch, folder: Path) -> Reference:
    """Trains a run without a kill."""
    began = time.monotonic()
    modules = folder.with_suffix(".modules")
    group, _ = _attempt(lambda path: [functools.partial(_noting, one, modules) for one in launch(path)], folder, None)
    _must_end_well(group)
    server.learn(modules.read_text().split())
    seconds = time.monotonic() - began
    steps = committed_steps(folder / "checkpoints")
    events = {phase: sum(one.board.count(phase) for one in group) for phase in PHASES}
    if not steps:
        raise JaxdlError(f"The uninterrupted run has saved nothing in {folder}.")
    return Reference(
        folder=folder,
        rows=read_rows(folder / "metrics.jsonl"),
        order=_orders(group),
        rollbacks=RunFolder(folder).rollbacks(),
        profile=Profile(steps=steps[-1], checkpoints=max(1, group[0].board.saves), events=events),
        processes=len(group),
        seconds=seconds,
    )


def survive(
    launch: Launch,
    known: Reference,
    folder: Path,
    *,
    kills: int,
    kinds: Sequence[Kind],
    seed: int,
    tell: Callable[[Hit], None],
) -> Iterator[Round | Mismatch]:
    """Kills runs, one after the other, until there were `kills` kills, and compares each when it has come to its end.

    After a run with a difference there is no other.

    Args:
      launch: Starts a run.
      known: The uninterrupted run.
      folder: Of the killed runs, one after the other.
      kills: How many in all.
      kinds: Which.
      seed: Of the random choices.
      tell: Called with each kill.

    Raises:
      JaxdlError: a run ended with an error that nobody put there, does not end, or makes no progress.
    """
    generator = random.Random(seed)
    choose = functools.partial(draw, generator, known.profile, kinds=kinds, processes=known.processes, kills=kills)
    done = 0
    while done < kills:
        found = _round(launch, known, folder, choose, kills - done, tell)
        yield found
        if isinstance(found, Mismatch):
            return
        done += len(found.hits)


def _round(
    launch: Launch,
    known: Reference,
    folder: Path,
    choose: Callable[[], Kill],
    kills: int,
    tell: Callable[[Hit], None],
) -> Round | Mismatch:
    """One run from nothing to its end, with at most so many kills."""
    shutil.rmtree(folder, ignore_errors=True)
    hits: list[Hit] = []
    taken: order.Order = {}
    stuck, newest = 0, -1
    while True:
        group, hit = _attempt(launch, folder, choose() if len(hits) < kills else None)
        if hit is not None:
            hits.append(hit)
            tell(hit)
        found = _orders(group)
        taken |= found
        problem = _early(known, folder, found) or _wrong_end(hit)
        if problem is not None:
            return Mismatch(differences=(problem,), hits=tuple(hits), folder=folder)
        if hit is None:
            _must_end_well(group)
            break
        saved = max(committed_steps(folder / "checkpoints"), default=-1)
        newest, stuck = (saved, 0) if saved > newest else (newest, stuck + 1)
        if stuck >= PATIENCE:
            where = "no checkpoint" if newest < 0 else f"no checkpoint beyond step {newest}"
            raise JaxdlError(f"{stuck} kills in a row, and {where}: save more often (--config.saving.every).")
    differences = _whole(known, folder, taken)
    if differences:
        return Mismatch(differences=differences, hits=tuple(hits), folder=folder)
    return Round(hits=tuple(hits))


def whole(known: Reference, other: Reference) -> tuple[Difference, ...]:
    """How two uninterrupted runs differ."""
    return _whole(known, other.folder, other.order)


def _noting(command: server.Command, modules: Path) -> int:
    """Runs a command, and writes down what it has imported."""
    code = command()
    modules.write_text("\n".join(server.imported()))
    return code


def _attempt(launch: Launch, folder: Path, kill: Kill | None) -> tuple[list[server.Running], Hit | None]:
    """Starts the processes of a run, strikes, and waits for their end; None where the run ended before it was hit."""
    group = []
    for number, command in enumerate(launch(folder)):
        aim = kill.aim if kill is not None and kill.watched == number else None
        make = functools.partial(_watch, folder, aim)
        group.append(server.start(command, make, folder.with_name(f"{folder.name}-{number}")))
    try:
        struck, saving, ended = _see_through(group, kill, folder)
    finally:
        for one in group:
            one.process.kill()
            one.process.join()
    codes = tuple(one.process.exitcode or 0 for one in group)
    if kill is None or not struck or not any(codes):
        return group, None
    board = group[kill.watched].board
    phase = board.fired if kill.pause is None and board.fired else "save" if saving else board.where
    return group, Hit(kill=kill, phase=phase, began=board.begun, reached=board.taken, codes=codes, ended=ended)


def _watch(folder: Path, aim: Aim | None, board: Board, path: Path) -> Watch:
    return Watch(board, folder, path, aim)


def _see_through(
    group: Sequence[server.Running], kill: Kill | None, folder: Path
) -> tuple[bool, bool, tuple[int, ...]]:
    """Waits until all have ended; whether the kill came, whether into a save, and who had to be ended after it."""
    struck, saving, events, moved = False, False, -1, time.monotonic()
    deadline: float | None = None
    while alive := [one for one in group if one.process.is_alive()]:
        wait([one.process.sentinel for one in alive], _POLL)
        if kill is not None and not struck and group[kill.watched].board.fired:
            struck, saving = True, _strike(group, kill, folder)
            deadline = time.monotonic() + (_SAVING if kill.kind == "SIGTERM" else _GRACE)
        if any(one.process.exitcode for one in group) and (deadline is None or group[0].board.begun is None):
            deadline = min(deadline or math.inf, time.monotonic() + _GRACE)  # Nobody saves before the first step.
        seen = sum(one.board.events() for one in group)
        if seen != events:
            events, moved = seen, time.monotonic()
        if kill is not None and kill.kind == "exception" and struck:
            ends = not any(group[number].process.is_alive() for number in kill.victims)
            deadline = min(deadline or math.inf, time.monotonic() + _GRACE) if ends else moved + _PARTING
        if time.monotonic() > (deadline or moved + _STILL):
            break
    late = tuple(number for number, one in enumerate(group) if one.process.is_alive())
    if late and not (struck and len(group) > 1):
        _must_end_well(group)
        raise JaxdlError(f"A run hangs: {_tail(group[late[0]])}")
    return struck, saving, late


def _strike(group: Sequence[server.Running], kill: Kill, folder: Path) -> bool:
    """Does what the run has not done by itself; whether a save was under way at that moment."""
    if kill.kind == "exception":
        return False
    if kill.pause is not None:
        time.sleep(kill.pause)
    begun = group[kill.watched].board.begun is not None  # Before, what lies there is of the run before.
    saving = begun and any(path for one in ("tmp-*", "trash-*") for path in (folder / "checkpoints").glob(one))
    number = signal.Signals[kill.kind]
    for victim in kill.victims:
        process = group[victim].process
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, number)
    return saving


def _wrong_end(hit: Hit | None) -> Difference | None:
    reason = None if hit is None else unexpected(hit)
    return None if hit is None or reason is None else Difference(text=f"{reason}: {hit}")


def _early(known: Reference, folder: Path, found: order.Order) -> Difference | None:
    """What differs already, though the run has not ended."""
    problem = compare.orders(known.order, found, known.rollbacks, whole=False)
    log = folder / "metrics.jsonl"
    if problem is None and log.exists():
        problem = compare.logs(known.rows, read_rows(log), known.rollbacks, whole=False)
    return None if problem is None else _with_batch(problem, known)


def _whole(known: Reference, folder: Path, taken: order.Order) -> tuple[Difference, ...]:
    """What differs in a run that has ended: the first in its batches, its log and its state."""

    def states() -> dict[str, object] | None:
        difference = compare.folders(known.folder, folder)
        return None if difference is None else dataclasses.asdict(difference)

    state = server.ask(states)
    found = (
        compare.orders(known.order, taken, known.rollbacks),
        compare.logs(known.rows, read_rows(folder / "metrics.jsonl")),
        None if state is None else Difference(**state),
    )
    return tuple(_with_batch(difference, known) for difference in found if difference is not None)


def _with_batch(difference: Difference, known: Reference) -> Difference:
    """With the number of the batch that the step has in the end, where another was not found."""
    if difference.step is None or difference.step < 1 or difference.batch is not None:
        return difference
    return dataclasses.replace(difference, batch=batch_number(difference.step - 1, known.rollbacks))


def _orders(group: Sequence[server.Running]) -> order.Order:
    found: order.Order = {}
    for one in group:
        if one.order.exists():
            found |= order.read(one.order)
    return found


def _must_end_well(group: Sequence[server.Running]) -> None:
    for number, one in enumerate(group):
        if one.process.exitcode:
            raise JaxdlError(f"Process {number} ended with {one.process.exitcode} though nobody hit it: {_tail(one)}")


def _tail(one: server.Running) -> str:
    """The end of what a process printed."""
    return one.output.read_text(errors="replace")[-_TAIL:].strip() if one.output.exists() else "it printed nothing."
