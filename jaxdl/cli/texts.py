"""Text that the verbs read from a file, or from the standard input."""

import sys
from pathlib import Path

from jaxdl.errors import DataError


def named(path: str) -> str:
    """What messages call a path, of which `-` is the standard input."""
    return "standard input" if path == "-" else path


def read_text(path: str) -> str:
    """A file of UTF-8, or the standard input where the path is `-`, without a byte order mark.

    Raises:
      DataError: it cannot be read, or is not UTF-8, by file and line.
    """
    try:
        written = _standard_input() if path == "-" else Path(path).expanduser().read_bytes()
        return written.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{named(path)} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        what = f"byte {error.object[error.start]:#04x} at column {column} is not UTF-8: convert the text"
        raise DataError(f"{named(path)}:{line}: {what}.") from error


def read_lines(path: str) -> list[str]:
    """The lines of `read_text`, which only line feeds end, as in training, not U+2028 or the like."""
    lines = read_text(path).split("\n")
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]


def _standard_input() -> bytes:
    """Its bytes, since Python may have decoded them in another encoding."""
    if sys.stdin is None:
        return b""
    return sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
