"""What became of every tensor of a conversion."""

import dataclasses
import difflib
import re
from collections.abc import Sequence

from jaxdl.errors import CheckpointError

Shape = tuple[int, ...]
_NUMBER = re.compile(r"\d+")
_ALIKE = 3  # Names to suggest for one that fits nothing.
_MOST_COMPARED = 2000
_ADVICE = (
    "Choose another layout or model, or say what may stay: `skip` patterns leave tensors out, `map` renames them, "
    "`resize` changes their size."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One rule applied to one set of tensors, or one tensor that no rule was applied to.

    Attributes:
      word: What happened: "copied", "transposed", "split", ..., "resized", "skipped", "initialised", "ignored",
        "missing" (ours has it, the file lacks it), "extra" (the file has it, ours lacks it), "misshapen".
      ours: Names of ours.
      theirs: Names of theirs.
      shapes: The shapes of ours, or where there is none of ours, of theirs.
      expected: Names of theirs that the layout gives to tensors of ours that are missing.
      note: Why, or what changed beside.
      explained: Whether this is as it should be.
    """

    word: str
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    expected: tuple[str, ...] = ()
    note: str = ""
    explained: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What became of every tensor. `str(report)` groups what differs only in its numbers; `table()` may show all.

    Attributes:
      lines: In the order of the layout.
    """

    lines: tuple[Line, ...]

    @property
    def unexplained(self) -> tuple[Line, ...]:
        """What a conversion refuses: tensors missing, extra, or of another shape."""
        return tuple(line for line in self.lines if not line.explained)

    def count(self) -> dict[str, int]:
        """The number of lines of each word."""
        words = [line.word for line in self.lines]
        return {word: words.count(word) for word in dict.fromkeys(words)}

    def table(self, *, verbose: bool = False) -> str:
        """A line for each tensor, or for each group of tensors whose names differ only in their numbers."""
        groups = [(line,) for line in self.lines] if verbose else _grouped(self.lines)
        rows = [_row(group) for group in groups]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
        body = ["  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0, 0))).rstrip() for row in rows]
        summary = ", ".join(f"{count} {word}" for word, count in self.count().items()) or "no tensors"
        return "\n".join([*body, summary])

    def __str__(self) -> str:
        return self.table()

    def json(self) -> dict[str, object]:
        """The same for a JSON file."""
        return {"count": self.count(), "lines": [dataclasses.asdict(line) for line in self.lines]}

    def check(self, source: str, advice: str = _ADVICE) -> None:
        """Raises CheckpointError if anything is unexplained, with the nearest names.

        Args:
          source: What was read, for the message.
          advice: What to do about it.
        """
        if not (wrong := self.unexplained):
            return
        shown = _grouped(wrong)
        rows = [f"  {'  '.join(cell for cell in _row(group) if cell)}{self._nearest(group[0])}" for group in shown[:20]]
        rest = f"\n  and {len(shown) - 20} more" if len(shown) > 20 else ""
        raise CheckpointError(
            f"{source} does not fit: {len(wrong)} tensors are unexplained.\n" + "\n".join(rows) + rest + "\n"
            f"Nothing was changed. {advice}"
        )

    def _nearest(self, line: Line) -> str:
        """Names on the other side that might have been meant."""
        if line.ours and line.theirs:
            return ""
        if line.ours:
            others = [name for other in self.unexplained if not other.ours for name in other.theirs]
        else:
            others = [name for other in self.unexplained if not other.theirs for name in other.expected or other.ours]
        flat = {_flat(other): other for other in others[:_MOST_COMPARED]}
        alike = difflib.get_close_matches(_flat((line.expected or line.ours or line.theirs)[0]), list(flat), n=_ALIKE)
        return f"  (nearest: {', '.join(flat[other] for other in alike)})" if alike else ""


def _flat(name: str) -> str:
    return re.sub(r"[/.]", "_", name)


def _grouped(lines: Sequence[Line]) -> list[tuple[Line, ...]]:
    groups: dict[object, list[Line]] = {}
    for line in lines:
        bare = tuple(_NUMBER.sub("#", name) for name in (*line.ours, "<-", *line.theirs))
        groups.setdefault((line.word, bare, line.shapes, line.note), []).append(line)
    return [tuple(group) for group in groups.values()]


def _row(group: Sequence[Line]) -> tuple[str, str, str, str]:
    first = group[0]
    ours, theirs = _all_merged([line.ours for line in group]), _all_merged([line.theirs for line in group])
    shapes = ", ".join(str(shape) for shape in dict.fromkeys(first.shapes))
    count = f"{len(group)} x " if len(group) > 1 else ""
    names = f"{ours} <- {theirs}" if ours and theirs else ours or theirs
    return first.word, f"{count}{shapes}", names, f"({first.note})" if first.note else ""


def _all_merged(sides: Sequence[tuple[str, ...]]) -> str:
    alike: dict[str, list[str]] = {}
    for name in (name for side in sides for name in side):
        alike.setdefault(_NUMBER.sub("#", name), []).append(name)
    return ", ".join(_merged(names) for names in alike.values())


def _merged(names: Sequence[str]) -> str:
    """Names that differ only in their numbers as one: `block_{0..11}/kernel`.

    >>> _merged(["block_0/norm_1/scale", "block_1/norm_1/scale"])
    'block_{0..1}/norm_1/scale'
    """
    columns = list(zip(*(_NUMBER.findall(name) for name in names)))
    texts = iter([_range(sorted({int(number) for number in column})) for column in columns])
    return _NUMBER.sub(lambda _: next(texts), names[0])


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    return f"{{{','.join(map(str, numbers))}}}"
