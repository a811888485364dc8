"""What `jaxdl.cli.texts` reads from files and from the standard input."""

import io

import pytest

from jaxdl.cli.texts import read_lines, read_text
from jaxdl.errors import DataError


@pytest.fixture(params=["file", "input"])
def written(request, tmp_path, monkeypatch):
    """Writes bytes, and says under which path to read them."""

    def write(data):
        if request.param == "input":
            # Whatever the locale makes of the bytes.
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii", errors="replace"))
            return "-"
        (tmp_path / "text.txt").write_bytes(data)
        return str(tmp_path / "text.txt")

    return write


def test_lines_end_at_line_feeds_only(written):
    text = "a\u2028é\x85b\r\n\n\x0cc"
    assert read_lines(written(text.encode())) == ["a\u2028é\x85b", "", "\x0cc"]
    assert read_lines(written(b"a\n")) == ["a"]
    assert read_lines(written(b"")) == []


def test_a_byte_order_mark_is_no_text(written):
    assert read_text(written("\ufeffé\n".encode())) == "é\n"


def test_other_encodings_are_told_by_line(written):
    with pytest.raises(DataError, match=r"(standard input|text\.txt):2: byte 0xff at column 3 is not UTF-8"):
        read_text(written(b"ok\nab\xffc\n"))


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none\.txt cannot be read"):
        read_text(str(tmp_path / "none.txt"))
    monkeypatch.setattr("sys.stdin", None)
    assert read_lines("-") == []
