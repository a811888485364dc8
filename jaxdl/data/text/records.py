"""Text files as records of named fields, each with its place for error messages."""

import collections
import csv
import dataclasses
import gzip
import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxdl.errors import DataError

OnBad = Literal["raise", "skip"]
MAX_CHARACTERS = 10_000_000
"""The longest field, and the longest line of a file of records, that is taken for text."""
_CHARACTER_BYTES = 4  # At most.
LEAVE_OUT = "on_bad='skip' (in the recipes of configs/language by ':skip' at the end of the argument)"
"""How bad records are left out, for messages."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Records(Sequence[Mapping[str, str]]):
    """Records `{field: text}` in memory.

    Attributes:
      fields: The texts of each field, all of one length.
      places: Where each record stands, such as `train.csv:12`.
      skipped: How many bad records were left out, by the reason.
    """

    fields: Mapping[str, Sequence[str]]
    places: Sequence[str]
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(values) for values in [*self.fields.values(), self.places]}
        if len(lengths) != 1 or not self.fields:
            raise DataError(f"The fields {list(self.fields)} must be there, and of one length; they have {lengths}.")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        """One record, or for a slice, the records of it."""
        if isinstance(index, slice):
            part = {name: values[index] for name, values in self.fields.items()}
            return Records(fields=part, places=self.places[index], skipped=self.skipped)
        return {name: values[index] for name, values in self.fields.items()}

    def take(self, rows: Sequence[int]) -> "Records":
        """The records at these rows, in this order."""
        part = {name: [values[row] for row in rows] for name, values in self.fields.items()}
        return Records(fields=part, places=[self.places[row] for row in rows], skipped=self.skipped)


@dataclasses.dataclass
class Collector:
    """Takes records one by one, and raises about the bad ones or counts them."""

    on_bad: OnBad
    names: tuple[str, ...]
    most: int = MAX_CHARACTERS
    rows: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    places: list[str] = dataclasses.field(default_factory=list)
    skipped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, values: Mapping[str, Any], place: str, *, empty: bool = False) -> None:
        """Takes the record of these fields, which may be empty where `empty`, or hands it to `bad`."""
        for name in self.names:
            if name not in values or values[name] is None:
                there = ", ".join(str(key) for key in values) or "nothing"
                return self.bad(place, f"has no field {name!r}; there is {there}", f"no field {name!r}")
            if not empty and not str(values[name]).strip():
                return self.bad(place, f"the field {name!r} is empty", "an empty field")
            if len(str(values[name])) > self.most:
                return self.bad(place, f"the field {name!r} is longer than {self.most:,} characters", "too long")
            if (reason := not_text(str(values[name]))) is not None:
                return self.bad(place, f"the field {name!r} {reason}", "no text")
        self.rows.append(tuple(str(values[name]) for name in self.names))
        return self.places.append(place)

    def bad(self, place: str, reason: str, kind: str) -> None:
        """Raises the reason, or counts it under its kind."""
        if self.on_bad == "raise":
            raise DataError(f"{place}: {reason}. Repair or remove it, or leave such records out by {LEAVE_OUT}.")
        self.skipped[kind] += 1

    def finish(self, path: str) -> Records:
        """All records; raises where there is none."""
        if not self.rows:
            left = f" ({dict(self.skipped)} left out)" if self.skipped else ""
            raise DataError(f"{path} holds no text{left}.")
        columns = zip(*self.rows)
        fields = {name: tuple(column) for name, column in zip(self.names, columns)}
        return Records(fields=fields, places=tuple(self.places), skipped=dict(self.skipped))


def not_text(text: str) -> str | None:
    r"""Why a string is no text that can be written as UTF-8, or None: JSON may hold half of a surrogate pair.

    >>> not_text("a\ud800")
    'holds half a character, U+D800, at 1'
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a character, U+{ord(text[error.start]):04X}, at {error.start}"
    return None


def read_lines(
    *,
    path: str,
    field: str = "text",
    encoding: str = "utf-8",
    unit: Literal["line", "file"] = "line",
    limit: int = 1_000_000_000,
    on_bad: OnBad = "raise",
) -> Records:
    """Plain text: one record a line, blank lines not counting, or one a file.

    Args:
      path: A file, or a folder whose `*.txt` files are read in the order of their names.
      field: What the text is called.
      encoding: Of the files.
      unit: What makes a record.
      limit: The most characters of a file that is one record; all of them are in memory.
      on_bad: What to do about text in another encoding.

    Raises:
      DataError: a file cannot be read, or is not of that encoding, by file and line; or there is no text.
    """
    collector = Collector(on_bad, (field,), limit if unit == "file" else MAX_CHARACTERS)
    for file in _files(path, ".txt"):
        lines = _decoded(file, encoding, collector)
        if unit == "file":
            text = "".join(line for _, line in lines)
            if text.strip():
                collector.add({field: text}, str(file))
            continue
        for number, line in lines:
            if line.strip():
                collector.add({field: line.rstrip("\r\n")}, f"{file}:{number}")
    return collector.finish(path)


def read_jsonl(
    *, path: str, fields: Mapping[str, str] | Sequence[str], encoding: str = "utf-8", on_bad: OnBad = "raise"
) -> Records:
    """JSON lines: one object a line.

    Args:
      path: The file.
      fields: The keys to read, or ours by theirs: `{"text": "review_body"}`.
      encoding: Of the file.
      on_bad: What to do about a line that is no object, or lacks a key.

    Raises:
      DataError: the file cannot be read, or a line is bad, by file and line.
    """
    wanted = _wanted(fields)
    collector = Collector(on_bad, tuple(wanted))
    for number, line in _decoded(Path(path).expanduser(), encoding, collector):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            collector.bad(place, f"is no JSON: {error}", "no JSON")
            continue
        if not isinstance(value, dict):
            collector.bad(place, f"is no object but {line[:40]!r}", "no object")
            continue
        found = _renamed(value, wanted)
        other = next((name for name in wanted if name in found and not _is_plain(found[name])), None)
        if other is not None:
            collector.bad(place, f"the field {other!r} is {json.dumps(found[other])[:40]}, no text", "no text")
            continue
        collector.add(found, place)
    return collector.finish(path)


def read_table(
    *,
    path: str,
    fields: Mapping[str, str | int] | Sequence[str],
    delimiter: str | None = None,
    header: bool = True,
    quoted: bool | None = None,
    encoding: str = "utf-8",
    on_bad: OnBad = "raise",
) -> Records:
    """Comma- or tab-separated values.

    Args:
      path: The file; `.tsv` and `.tab`, gzipped or not, are read with tabs, all else with commas.
      fields: The columns to read, or ours by theirs: a name of the header, or a number from 0 where there is none.
      delimiter: Between the columns, instead of what the ending says.
      header: Whether the first row names the columns.
      quoted: Whether quotes may hold delimiters and new lines; else a quote is a character like any other. None for
        quotes unless tabs delimit, since files with tabs rarely quote, and a stray quote would swallow rows.
      encoding: Of the file.
      on_bad: What to do about a row that lacks a column.

    Raises:
      DataError: the file cannot be read, a column is not in the header, or a row is bad, by file and line.
    """
    wanted = _wanted(fields)
    collector = Collector(on_bad, tuple(wanted))
    file = Path(path).expanduser()
    delimiter = delimiter or ("\t" if Path(path.removesuffix(".gz")).suffix in (".tsv", ".tab") else ",")
    quoted = delimiter != "\t" if quoted is None else quoted
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    names: list[Any] = []
    for place, row in _rows(file, path, collector, encoding, delimiter=delimiter, quoting=quoting):
        if header and not names:
            names = row
            _check_header(path, names, wanted)
        elif header and any(row[len(names) :]):
            remedy = f"put quotes around what holds {delimiter!r}" if quoted else f"take {delimiter!r} out of its texts"
            reason = f"has {len(row)} columns, but the header {len(names)}: {remedy}"
            collector.bad(place, reason, "more columns than the header")
        elif row:
            collector.add(_renamed(dict(zip(names, row)) if header else dict(enumerate(row)), wanted), place)
    return collector.finish(path)


def _rows(
    file: Path, path: str, collector: Collector, encoding: str, **options: Any
) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table with the place of its last line."""
    at = begin = 0

    def lines() -> Iterator[str]:
        nonlocal at, begin
        for number, line in _decoded(file, encoding, collector):
            begin, at = begin or number, number
            yield line

    reader = csv.reader(lines(), **options)
    while True:
        begin = 0
        before = csv.field_size_limit(MAX_CHARACTERS)  # Of the whole library, so only while it reads.
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{at}: {error}, in the row that begins at line {begin}: close its quotes."
            ) from error
        finally:
            csv.field_size_limit(before)
        if row is None:
            return
        yield f"{path}:{at}", row


def read_parallel(
    *,
    source: str,
    target: str,
    names: tuple[str, str] = ("source", "target"),
    encoding: str = "utf-8",
    on_bad: OnBad = "raise",
) -> Records:
    """Two files whose n-th lines translate each other; pairs with an empty side, or a bad one, are bad.

    Raises:
      DataError: a file cannot be read, they have unequal numbers of lines, or a line is bad.
    """
    collector = Collector(on_bad, names)
    sides = [list(_decoded(Path(path).expanduser(), encoding, collector, all_lines=True)) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise DataError(f"{source} has {len(sides[0])} lines, but {target} has {len(sides[1])}: they must pair up.")
    for (number, left), (_, right) in zip(*sides):
        if left is None or right is None:
            continue
        values = dict(zip(names, (left.rstrip("\r\n"), right.rstrip("\r\n"))))
        if any(value.strip() for value in values.values()):
            collector.add(values, f"{source}:{number}")
    return collector.finish(source)


def _wanted(fields: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    wanted = dict(fields) if isinstance(fields, Mapping) else {name: name for name in fields}
    if not wanted:
        raise DataError("Say which fields to read.")
    return wanted


def _is_plain(value: Any) -> bool:
    """Whether a JSON value is a text or a number."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _renamed(values: Mapping[Any, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted values under our names; where one is missing, all that there is, so that the message can show it."""
    if any(theirs not in values for theirs in wanted.values()):
        return {f"{key}": value for key, value in values.items() if key not in wanted} | {
            ours: values[theirs] for ours, theirs in wanted.items() if theirs in values
        }
    return {ours: values[theirs] for ours, theirs in wanted.items()}


def _check_header(path: str, names: Sequence[str], wanted: Mapping[str, Any]) -> None:
    missing = [str(theirs) for theirs in wanted.values() if theirs not in names]
    if missing:
        raise DataError(f"{path}:1: the header has no column {', '.join(missing)}; it has {', '.join(names)}.")


def _files(path: str, ending: str) -> list[Path]:
    root = Path(path).expanduser()
    if not root.is_dir():
        return [root]
    files = sorted(file for file in root.rglob(f"*{ending}") if not file.name.startswith("."))
    if not files:
        raise DataError(f"The folder {root} holds no *{ending} file.")
    return files


def _decoded(file: Path, encoding: str, collector: Collector, *, all_lines: bool = False) -> Iterator[tuple[int, Any]]:
    """The lines of a file, gzipped or not, with their numbers from 1; those of another encoding are bad.

    With `all_lines`, None stands for a bad one.
    """
    most = _CHARACTER_BYTES * collector.most
    try:
        if "\n".encode(encoding) != b"\n":
            raise DataError(f"{file}: files in {encoding} cannot be read by lines: convert it to UTF-8.")
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as lines:
            for number in itertools.count(1):
                line = lines.readline(most)
                if not line:
                    return
                if len(line) == most:
                    raise DataError(f"{file}:{number}: is longer than {collector.most:,} characters: cut it up.")
                try:
                    text = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode(encoding)
                except UnicodeDecodeError as error:
                    reason = f"is not {encoding}: byte {line[error.start]:#04x} at column {error.start + 1}"
                    collector.bad(f"{file}:{number}", reason, f"not {encoding}")
                    if all_lines:
                        yield number, None
                    continue
                yield number, text
    except LookupError as error:
        raise DataError(f"There is no encoding {encoding!r}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: it was cut short or damaged.") from error
