"""Forty texts that break readers: each is read the same twice, or refused by file and line."""

import gzip
import resource

import pytest

from jaxdl.data.text import read_jsonl, read_lines, read_parallel, read_squad, read_table, utf8_bytes
from jaxdl.errors import DataError

LONG = 10_000_001
TEXTS = {
    "empty": b"",
    "only a new line": b"\n",
    "only spaces": b"  \t \n",
    "only a BOM": b"\xef\xbb\xbf",
    "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbfa\n",
    "a BOM within": b"a\n\xef\xbb\xbfb\n",
    "UTF-16": "a\nb\n".encode("utf-16"),
    "UTF-32": "a\nb\n".encode("utf-32"),
    "Latin-1": "caf\xe9\n".encode("latin-1"),
    "Windows-1252": b"\x93quoted\x94\n",
    "Shift JIS": "\u65e5\u672c\n".encode("shift_jis"),
    "a lone continuation byte": b"a\x80b\n",
    "a character cut short": b"a\xe2\x82\n",
    "an overlong slash": b"\xc0\xaf\n",
    "a surrogate in UTF-8": b"\xed\xa0\x80\n",
    "beyond Unicode": b"\xf4\x90\x80\x80\n",
    "bytes that are never UTF-8": b"\xfe\xff\n",
    "NUL": b"a\x00b\n",
    "nothing but NUL": b"\x00" * 100 + b"\n",
    "control characters": bytes(range(1, 32)) + b"\n",
    "delete and C1": b"\x7f\xc2\x80\xc2\x9f\n",
    "escape sequences": b"\x1b[2J\x1b[31mred\n",
    "carriage returns alone": b"a\rb\rc",
    "CRLF": b"a\r\nb\r\n",
    "mixed ends": b"a\r\nb\nc\r",
    "no end": b"the last line",
    "vertical tab and form feed": b"a\x0bb\x0cc\n",
    "line separator": "a\u2028b\u2029c\n".encode(),
    "next line": "a\x85b\n".encode(),
    "from right to left": "\u202eabc\u202c\n".encode(),
    "zero width": "a\u200bb\u200d\ufeff\n".encode(),
    "combining marks": ("a" + "\u0301" * 1000 + "\n").encode(),
    "an emoji family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\n".encode(),
    "private use": "\ue000\U0010fffd\n".encode(),
    "a noncharacter": "\ufffe\uffff\n".encode(),
    "a line that is too long": b"x" * LONG + b"\n",
    "a line just short enough": b"x" * (LONG - 1) + b"\n",
    "a line of 41 MB": b"x" * 41_000_000,
    "many quotes": b'"' * 1001 + b"\n",
    "many brackets": b"[" * 100_000 + b"\n",
    "format strings": b"%s%n {0} {} ${HOME}\n",
}
READ = {
    "lines": lambda path: read_lines(path=path),
    "a file as one": lambda path: read_lines(path=path, unit="file"),
    "JSON lines": lambda path: read_jsonl(path=path, fields=("text",)),
    "a table": lambda path: read_table(path=path, fields={"text": 0}, header=False),
    "a table without quotes": lambda path: read_table(path=path, fields={"text": 0}, header=False, quoted=False),
    "two files": lambda path: read_parallel(source=path, target=path),
    "SQuAD": lambda path: read_squad(path=path),
}


def outcome(read, path):
    try:
        found = read(path)
    except DataError as error:
        message = str(error)
    else:
        return {name: tuple(values) for name, values in found.fields.items()}
    assert path in message
    assert "\x1b" not in message
    return message


@pytest.mark.parametrize("reader", READ)
@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_the_same_twice_or_refused_by_name(tmp_path, reader, text):
    path = tmp_path / "text"
    path.write_bytes(TEXTS[text])
    first = outcome(READ[reader], str(path))
    assert first == outcome(READ[reader], str(path))
    if isinstance(first, dict) and len(TEXTS[text]) < 100_000:
        tokenizer = utf8_bytes()
        for values in first.values():
            for value in values:
                assert tokenizer.decode(tokenizer.encode(value)) == value


def test_there_are_forty():
    assert len(TEXTS) >= 40


@pytest.mark.parametrize(
    ("text", "place"),
    [("Latin-1", ":1: is not utf-8: byte 0xe9 at column 4"), ("a character cut short", ":1: is not utf-8: byte 0xe2")],
)
def test_the_place_of_a_bad_byte_is_told(tmp_path, text, place):
    (tmp_path / "text").write_bytes(TEXTS[text])
    with pytest.raises(DataError, match=place):
        read_lines(path=str(tmp_path / "text"))


def test_half_a_character_in_json_is_told_by_its_place_or_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n{"text": "ab\\ud800"}\n{"text": "\\ud83d\\ude00"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: the field 'text' holds half a character, U\+D800, at 2"):
        read_jsonl(path=str(path), fields=("text",))
    found = read_jsonl(path=str(path), fields=("text",), on_bad="skip")
    assert found.fields["text"] == ("good", "\U0001f600")
    assert found.skipped == {"no text": 1}


def test_a_bomb_of_one_line_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(128):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**21
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb\.txt\.gz:1: is longer than 10,000,000 characters"):
        read_lines(path=str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def test_damage_within_a_gzip_is_named(tmp_path):
    packed = bytearray(gzip.compress(b"".join(b"line %d\n" % n for n in range(5000))))
    for place in range(12, len(packed), 997):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        (tmp_path / "a.txt.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.txt\.gz"):
            read_lines(path=str(tmp_path / "a.txt.gz"))
