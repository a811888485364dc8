"""Checkpoints of a run: saved in the background, proven before they count, verified before they are used."""

import contextlib
import dataclasses
import datetime
import errno
import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from jaxdl.checkpoint import arrays, leaves, rotation
from jaxdl.checkpoint.commit import Corrupt, clear, publish, put_back, read_manifest, remove, replace, seal
from jaxdl.checkpoint.failures import describe_failure
from jaxdl.checkpoint.lock import WorkdirLock, lock_workdir
from jaxdl.checkpoint.manifest import Manifest, pack, unpack
from jaxdl.checkpoint.processes import any_failed, any_process, from_first, together
from jaxdl.checkpoint.restore import (
    REPLACED,
    STATE,
    STEP,
    Restored,
    Skipped,
    check_fits,
    committed_steps,
    newest_verified,
    read_state,
    restored,
    skip,
    step_folder,
)
from jaxdl.checkpoint.rotation import BestOf
from jaxdl.errors import CheckpointError
from jaxdl.types import PyTree

NOTHING, FAILED = -1, -2


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pending:
    step: int
    num_bytes: int
    future: Future[None]


class Checkpoints:
    """The checkpoints in one directory, which one run at a time may write.

    Saving blocks for the copy to the host alone; Orbax and the commit layer work in a background thread, one save at a
    time. A step is listed once every byte of it is on the disk with its digests. With several processes, all of them
    make the same calls; the first one commits, rotates and cleans up.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int | None = 3,
        best: BestOf | None = None,
        read_only: bool = False,
        force: bool = False,
    ) -> None:
        """Opens the directory, and clears what a killed run left half-written.

        Args:
          directory: Made where it does not exist.
          keep: How many of the newest steps stay; None keeps all.
          best: Which steps stay beside them.
          read_only: Neither lock nor change the directory; `save` is refused, and corrupt steps stay in place.
          force: Take the directory from a run that still holds it.

        Raises:
          WorkdirError: another run holds the directory, or it cannot be written.
        """
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least 1, or None to keep all, not {keep}.")
        self.directory = Path(directory).absolute()
        self.keep = keep
        self.best = best
        self.read_only = read_only
        self._first = jax.process_index() == 0
        self._lock: WorkdirLock | None = None
        self._pending: _Pending | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        if self._first and not read_only:
            self._lock = lock_workdir(self.directory, force=force)
            self._clean()

    def steps(self) -> list[int]:
        """The steps that are wholly saved, oldest first; a save in flight is not among them."""
        return committed_steps(self.directory)

    def newest(self) -> int | None:
        """The newest step that is wholly saved."""
        return max(self.steps(), default=None)

    def best_steps(self) -> list[int]:
        """The saved steps by the metric of `best`, best first; empty without `best`."""
        return self.best.ranked(self._metrics()) if self.best else []

    def save(
        self,
        step: int,
        state: PyTree,
        info: Mapping[str, Any] | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        again: bool = False,
        wait: bool = False,
    ) -> float:
        """Saves a state; what is saved is the state at the time of the call, whatever happens to its buffers later.

        Args:
          step: Above every saved step (`discard_after` goes back).
          state: A tree of arrays, numbers and random keys.
          info: What else a resumed run must know; dicts, lists, numbers, strings, booleans, None.
          metrics: Values that `best` may rank the step by.
          again: Whether the step may be the newest saved one, which is then replaced.
          wait: Return only when the step is on the disk.

        Returns:
          The seconds for which the caller was blocked.

        Raises:
          CheckpointError: this save cannot start (no space; a step at or above it is saved), or the one before failed,
            which surfaces here; either way nothing was started, and the call may be repeated.
        """
        started = time.perf_counter()
        if self.read_only:
            raise CheckpointError(f"{self.directory} was opened read-only, so step {step} cannot be saved.")
        info = unpack(pack(info or {}))
        measured = {name: float(value) for name, value in (metrics or {}).items()}
        self.wait()
        again = again and step == self.newest()
        if not again:
            self._check_order(step)
        stored, table = leaves.snapshot(state)
        num_bytes = sum(array.nbytes for array in stored.values())
        manifest = Manifest(
            step=step, leaves=tuple(table), info=info, metrics=measured, versions=_versions(), created=_now()
        )
        problem = self._prepare(step, num_bytes, again=again) if self._first else None
        if any_process(problem is not None):
            raise self._failure(step, num_bytes, problem) from problem
        written = {name: array for name, array in stored.items() if array.size}
        finish = arrays.start_write(self._temporary(step) / STATE, written) if written else lambda: None
        self._pending = _Pending(
            step=step, num_bytes=num_bytes, future=self._thread.submit(self._commit, manifest, stored, finish, again)
        )
        if wait:
            self.wait()
        return time.perf_counter() - started

    def poll(self) -> bool:
        """Whether a save is still running; one that failed raises its CheckpointError here."""
        if self._pending is None or not self._pending.future.done():
            return self._pending is not None
        if jax.process_count() == 1:  # the processes must agree on the outcome, and a poll need not be on all of them
            self.wait()
        return False

    def wait(self) -> None:
        """Returns when the last save is on the disk.

        Raises:
          CheckpointError: it failed; what was saved before is untouched.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        if any_failed(pending.future):
            error = pending.future.exception() if pending.future.done() else None
            raise self._failure(pending.step, pending.num_bytes, error) from error

    def restore(self, target: PyTree, step: int | None = None, *, digests: bool = True) -> Restored | None:
        """Reads the newest step that verifies; a corrupt one is set aside as `corrupt-<step>` and reported.

        Args:
          target: The state to fill: `jax.ShapeDtypeStruct`s with shardings, or arrays. The shardings may be others than
            those that were saved.
          step: This step and no other.
          digests: Verify every byte of the files; without, only their names and sizes and the bytes of the arrays.

        Returns:
          None where nothing has been saved.

        Raises:
          CheckpointError: the checkpoint is of another model (with a table of what differs); there are checkpoints but
            none verifies; or `step` does not exist or verify.
        """
        self.wait()
        skipped: list[Skipped] = []
        while True:
            manifest = self._choose(step, skipped, digests=digests)
            if manifest is None:
                return None
            check_fits(self.directory, manifest, target)
            try:
                state = read_state(step_folder(self.directory, manifest.step), manifest, target)
            except Corrupt as problem:
                skipped.append(
                    skip(
                        self.directory, manifest.step, str(problem), quarantine=self._lock is not None and step is None
                    )
                )
                continue
            return restored(manifest, state, skipped)

    def discard_after(self, step: int) -> list[int]:
        """Deletes the saved steps above `step`, to go on from there; returns them."""
        self.wait()
        later = [number for number in self.steps() if number > step]
        if self.read_only:
            raise CheckpointError(f"{self.directory} was opened read-only, so steps {later} cannot be deleted.")
        together("jaxdl_discard")
        for number in reversed(later) if self._first else ():
            self._remove(number)
        together("jaxdl_discarded")
        return later

    def close(self) -> None:
        """Waits for the last save, and gives the directory back; raises what the save raised."""
        try:
            self.wait()
        finally:
            self._give_back()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        # The other processes may not have met the error and not come here: nothing is agreed upon with them.
        pending, self._pending = self._pending, None
        failure = None if pending is None else pending.future.exception()
        if pending is not None and failure is not None:
            error.add_note(str(self._failure(pending.step, pending.num_bytes, failure)))
        self._give_back()

    def _give_back(self) -> None:
        """Without waiting for a save that can no longer end, as it failed in another process."""
        self._thread.shutdown(wait=jax.process_count() == 1)
        if self._lock is not None:
            self._lock.release()

    def _prepare(self, step: int, num_bytes: int, *, again: bool) -> OSError | None:
        """Makes the temporary folder; the error that prevents it."""
        try:
            if shutil.disk_usage(self.directory).free < 1.1 * num_bytes:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            stray = step_folder(self.directory, step)
            if not again and stray.is_dir() and any(stray.iterdir()):
                skip(self.directory, step, "it was never committed", quarantine=True)
            shutil.rmtree(self._temporary(step), ignore_errors=True)
            self._temporary(step).mkdir()
        except OSError as error:
            return error
        return None

    def _commit(
        self, manifest: Manifest, stored: Mapping[str, leaves.Stored], finish: Callable[[], None], again: bool
    ) -> None:
        """Runs in the background: writes, seals, publishes, rotates; a failure leaves no temporary folder."""
        temporary = self._temporary(manifest.step)
        with contextlib.ExitStack() as undo:
            if self._first:
                undo.callback(clear, temporary)
            finish()
            if not self._first:
                return
            table = [dataclasses.replace(leaf, crc32=leaves.digest(stored[leaf.name])) for leaf in manifest.leaves]
            seal(temporary, dataclasses.replace(manifest, leaves=tuple(table)))
            if again:
                aside = self.directory / f"{REPLACED}{manifest.step:08d}"
                replace(temporary, step_folder(self.directory, manifest.step), aside)
            else:
                publish(temporary, step_folder(self.directory, manifest.step))
            undo.pop_all()
        self._rotate()

    def _rotate(self) -> None:
        metrics = self._metrics()
        for step in sorted(metrics.keys() - rotation.retained(metrics, keep=self.keep, best=self.best)):
            self._remove(step)

    def _remove(self, step: int) -> None:
        remove(step_folder(self.directory, step), self.directory / f"trash-{step}")

    def _metrics(self) -> dict[int, Mapping[str, float]]:
        found: dict[int, Mapping[str, float]] = {}
        for step in self.steps():
            try:
                found[step] = read_manifest(step_folder(self.directory, step)).metrics
            except Corrupt:
                found[step] = {}  # never among the best; `restore` will set it aside
        return found

    def _check_order(self, step: int) -> None:
        newest = self.newest()
        if step < 0:
            raise ValueError(f"A step is 0 or more, not {step}.")
        if newest is not None and step <= newest:
            raise CheckpointError(
                f"Step {newest} is already saved in {self.directory}, so step {step} would not be the newest. "
                f"Go on from step {newest}, or call discard_after({step - 1}) first."
            )

    def _choose(self, step: int | None, skipped: list[Skipped], *, digests: bool) -> Manifest | None:
        """The manifest to restore, the same on every process: the first one verifies, the others follow."""
        owner = self._lock is not None
        manifest, problem, chosen = None, None, NOTHING
        if self._first:
            try:
                manifest = newest_verified(self.directory, step, skipped, quarantine=owner, digests=digests)
                chosen = NOTHING if manifest is None else manifest.step
            except CheckpointError as error:
                problem, chosen = error, FAILED
        chosen = from_first(chosen)
        if chosen == FAILED:
            raise problem or CheckpointError(f"The first process found no usable checkpoint in {self.directory}.")
        return None if chosen == NOTHING else manifest or read_manifest(step_folder(self.directory, chosen))

    def _clean(self) -> None:
        for path in [*self.directory.glob("tmp-*"), *self.directory.glob("trash-*")]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.directory.glob(f"{REPLACED}*"):
            put_back(path, self.directory / path.name.removeprefix(REPLACED))
        for path in self.directory.iterdir():
            if STEP.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()

    def _temporary(self, step: int) -> Path:
        return self.directory / f"tmp-{step}"

    def _failure(self, step: int, num_bytes: int, error: BaseException | None) -> CheckpointError:
        return CheckpointError(
            describe_failure(self.directory, step, saved=self.steps(), num_bytes=num_bytes, error=error)
        )


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jaxdl", "jax", "orbax-checkpoint", "numpy")}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
