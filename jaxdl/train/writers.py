"""Where measurements go: JSON lines, which are the record of truth, and TensorBoard event files."""

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxdl.checkpoint.commit import sync_directory
from jaxdl.errors import DataError, WorkdirError

RESERVED = ("step", "time", "kind")
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
SCAN_BYTES = 1 << 16


class JsonlWriter:
    """Appends measurements to a file, one JSON object a line: `{"step": 10, "time": ..., "kind": "train", ...}`.

    The JSON is strict: numbers that are not finite are the strings "NaN", "Infinity" and "-Infinity". A row is in the
    hands of the system when `write` returns, so that a killed process loses none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file for appending, and drops a last line that a killed process left unfinished.

        Raises:
          WorkdirError: the file cannot be written.
        """
        self.path = Path(path).absolute()
        try:
            new = not self.path.exists()
            _drop_unfinished_line(self.path)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            if new:
                sync_directory(self.path.parent)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Appends a row.

        Args:
          step: Of training.
          kind: What the row is about, such as `"train"`, or the name of an evaluation.
          values: Numbers (also of NumPy or JAX), strings, booleans, None, or lists of them, by name.

        Raises:
          WorkdirError: the disk refuses the row.
          ValueError: a value is called `step`, `time` or `kind`.
        """
        taken = [name for name in values if name in RESERVED]
        if taken:
            raise ValueError(f"Every row has {RESERVED} of its own, so no value can be called {taken[0]!r}.")
        row = {"step": int(step), "time": round(time.time(), 3), "kind": kind, **values}
        line = json.dumps({name: plain(value) for name, value in row.items()}, allow_nan=False).encode() + b"\n"
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(None, f"only {written} of {len(line)} bytes were written")
        except OSError as error:
            raise self._failure(error) from error

    def truncate_after(self, step: int, *, last: str | None = None) -> int:
        """Drops the rows above `step`, which a resumed run will write again; returns how many.

        With `last`, the rows of `step` itself go too, but for those of this kind. The file is replaced as a whole, so
        that a kill leaves the old or the new one.

        Raises:
          WorkdirError: the file cannot be rewritten.
          DataError: a line is not one of ours.
        """
        kept, dropped = [], 0
        for number, line in _lines(self.path):
            row = _parse(self.path, number, line)
            if row["step"] < step or (row["step"] == step and (last is None or row.get("kind") == last)):
                kept.append(line)
            else:
                dropped += 1
        if not dropped:
            return 0
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.writelines(kept)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
            sync_directory(self.path.parent)
            self._file.close()
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from error
        return dropped

    def sync(self) -> None:
        """Flushes the rows to the disk, so that they outlive a power cut; call it before a checkpoint.

        Raises:
          WorkdirError: the disk refuses them.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "JsonlWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, error: OSError) -> WorkdirError:
        return WorkdirError(
            f"Cannot write {self.path}: {error.strerror or error}. Make room or choose another --workdir, "
            "then run the same command again."
        )


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a file that `JsonlWriter` wrote, with numbers that are not finite as floats again.

    A last line without its end is left out: its writer was killed, or is still writing.

    Raises:
      DataError: a line is not one of ours.
      FileNotFoundError: there is no such file.
    """
    rows = [_parse(Path(path), number, line) for number, line in _lines(Path(path))]
    return [{name: _number(value) for name, value in row.items()} for row in rows]


class TensorBoardWriter:
    """Writes scalars to a TensorBoard event file; a failure is told once, and never stops training."""

    def __init__(self, directory: str | os.PathLike[str], *, purge_step: int | None = None) -> None:
        """Starts a new event file.

        Args:
          directory: Made where it does not exist.
          purge_step: TensorBoard hides what earlier files have at this step and later: the next step of a resumed run.
        """
        self._directory = Path(directory)
        self._records: Any = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._open(purge_step)
        except (OSError, ImportError) as error:
            self._give_up(error)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Writes each number as `kind/name`; other values are left out."""
        if self._records is None:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = {name: plain(value) for name, value in values.items()}
        scalars = {name: _number(value) for name, value in numbers.items() if _is_number(_number(value))}
        summary = Summary(value=[Summary.Value(tag=f"{kind}/{name}", simple_value=x) for name, x in scalars.items()])
        self._write(Event(wall_time=time.time(), step=int(step), summary=summary))

    def text(self, name: str, text: str) -> None:
        """Writes a text, such as the config, which TensorBoard shows as Markdown."""
        if self._records is None:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import text as text_summary

        self._write(Event(wall_time=time.time(), step=0, summary=text_summary(name, text)))

    def flush(self) -> None:
        """Flushes the file to the disk."""
        if self._records is None:
            return
        try:
            self._records.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Ends the file."""
        self.flush()
        if self._records is not None:
            self._records.close()
            self._records = None

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, purge_step: int | None) -> None:
        # Its SummaryWriter would write from a thread with a bounded queue: on a full disk, training would hang.
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        unique = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self._records = RecordWriter(str(self._directory / f"events.out.tfevents.{unique}"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def _write(self, event: Any) -> None:
        if self._records is None:
            return
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        records, self._records = self._records, None
        if records is not None:
            with contextlib.suppress(OSError):
                records.close()
        print(f"No more TensorBoard events in {self._directory}: {error}. Training goes on.", file=sys.stderr)


def plain(value: Any) -> Any:
    """A value as strict JSON has it: numbers that are not finite are the strings "NaN", "Infinity" and "-Infinity"."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _number(value: Any) -> Any:
    return NON_FINITE[value] if isinstance(value, str) and value in NON_FINITE else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no regular file.")
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield number, line


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number} is not JSON ({error}). Repair or remove that line.") from error
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        raise DataError(f"{path}, line {number} has no whole number 'step'. Repair or remove that line.")
    return row


def _drop_unfinished_line(path: Path) -> None:
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        newline = -1
        while end > 0 and newline < 0:
            start = max(0, end - SCAN_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            end = start
        whole = end + newline + 1 if newline >= 0 else 0
        if whole != size:
            file.truncate(whole)
