"""Where a value was written: the file and line of a keyword or an assignment."""

import ast
import linecache
import os
import sys
from collections.abc import Mapping
from types import FrameType
from typing import NamedTuple

from ml_collections.config_dict import config_dict


class CallSite(NamedTuple):
    """The place of a call: where it starts, and the place of each of its keywords."""

    start: str
    keywords: Mapping[str, str]

    def of(self, keyword: str) -> str:
        """The place of a keyword; the start of the call where it came in by `**`."""
        return self.keywords.get(keyword, self.start)


def place(filename: str, line: int) -> str:
    """`configs/x.py:14`, relative to the working directory where the file is below it."""
    return f"{short_path(filename)}:{line}"


def short_path(filename: str) -> str:
    """A path relative to the working directory where it is below it, else as it is."""
    below = os.path.join(os.getcwd(), "")
    return filename[len(below) :] if filename.startswith(below) else filename


def call_site(frame: FrameType) -> CallSite:
    """The place of the call that `frame` is executing now."""
    filename = frame.f_code.co_filename
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    start = positions[0] or frame.f_lineno
    text = _segment(linecache.getlines(filename, frame.f_globals), positions)
    try:
        call = ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError):
        return CallSite(place(filename, start), {})
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return CallSite(
        place(filename, start), {word.arg: place(filename, start + word.lineno - 1) for word in keywords if word.arg}
    )


def _segment(lines: list[str], positions: tuple[int | None, int | None, int | None, int | None]) -> str:
    """The source text between two positions; columns count bytes of UTF-8."""
    first, last, start, stop = positions
    if first is None or last is None or start is None or stop is None or last > len(lines):
        return ""
    taken = [line.encode() for line in lines[first - 1 : last]]
    taken[-1] = taken[-1][:stop]
    taken[0] = taken[0][start:]
    return b"".join(taken).decode(errors="replace")


def assignment_origin() -> str:
    """The place of the assignment to a config that is being executed now."""
    frame: FrameType | None = sys._getframe(1)
    inside = (os.path.dirname(__file__), config_dict.__file__)
    while frame is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return "" if frame is None else place(frame.f_code.co_filename, frame.f_lineno)
