"""A small deterministic mutator: bytes at random, and JSON by its structure."""

import json
import random
import struct

WORDS = (
    *(
        b"\x00",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
    ),
    *(b"\n", b"\r\n", b"\t", b'"', b"'", b",", b"=", b":", b"@", b"[", b"{", b"(", b")", b"}", b"]", b"\\", b"\\ud800"),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"9223372036854775808", b"0", b"1" * 5000, b"[" * 3000),
    *(
        b"../../../tmp/x",
        b"/etc/passwd",
        b"__class__",
        b"os:system",
        b"%s%n",
        b"\x1b[2J",
        "ü\u2028".encode(),
        b"A" * 70_000,
    ),
)
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "a", "../x", "/etc/passwd", "\ud800", "\x1b[2J\n", "a" * 1000, "nan", "O", "float64", "key<fry>", "V8"),
    *(
        [],
        {},
        [[]],
        [0],
        [None],
        [-1, 2**62],
        {"a": 1},
        {"": None},
        {"float": "x"},
        {"call": "os:system"},
        ["a", 1, None],
    ),
)


def mutated(data: bytes, others: tuple[bytes, ...], choose: random.Random) -> bytes:
    """One to four changes of `data`; now and then by what it says as JSON."""
    for _ in range(choose.choice((1, 1, 2, 4))):
        data = _json_change(data, choose) if choose.random() < 0.5 else _byte_change(data, others, choose)
    return data


def _byte_change(data: bytes, others: tuple[bytes, ...], choose: random.Random) -> bytes:
    at = choose.randint(0, len(data))
    match choose.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + choose.choice(WORDS) + data[at:]
        case 2:
            return data[:at] + choose.choice(WORDS) + data[at + choose.randint(0, 16) :]
        case 3:
            return data[:at] + data[at + choose.randint(1, 64) :]
        case 4:
            part = data[at : at + choose.randint(1, 64)]
            return data[:at] + part * choose.choice((2, 3, 50)) + data[at:]
        case 5:
            other = choose.choice(others)
            return data[:at] + other[choose.randint(0, len(other)) :]
        case 6:
            number = choose.choice((0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
            packed = struct.pack(choose.choice("<>") + "I", number)[choose.choice((0, 2)) :]
            return data[:at] + packed + data[at + len(packed) :]
        case _:
            flipped = bytearray(data)
            for _ in range(choose.choice((1, 1, 8))):
                if flipped:
                    flipped[choose.randrange(len(flipped))] ^= 1 << choose.randrange(8)
            return bytes(flipped)


def _json_change(data: bytes, choose: random.Random) -> bytes:
    """Replaces a value of the JSON in `data`, or of the JSON in one of its lines; bytes that hold none are kept."""
    lines = data.split(b"\n")
    order = choose.sample(range(len(lines)), min(len(lines), 8))
    for part, before, after in [(data, [], []), *((lines[at], lines[:at], lines[at + 1 :]) for at in order)]:
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if choose.random() < 0.02:
            text = "[" * 100_000 + "]" * 100_000
        else:
            text = json.dumps(_changed(value, choose, choose.randint(0, 6)))
        return b"\n".join([*before, text.encode(), *after])
    return data


def _changed(value: object, choose: random.Random, depth: int) -> object:
    """The value with something in it replaced, dropped or repeated; `depth` levels down where there are so many."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return choose.choice(VALUES)
    if isinstance(value, list):
        at = choose.randrange(len(value))
        change = choose.randrange(6)
        if change == 0:
            return value[:at] + value[at + 1 :]
        if change == 1:
            return value[: at + 1] + value[at:]
        return [*value[:at], _changed(value[at], choose, depth - 1), *value[at + 1 :]]
    key = choose.choice(list(value))
    change = choose.randrange(8)
    if change == 0:
        return {name: item for name, item in value.items() if name != key}
    if change == 1:
        return {**value, choose.choice(("", "a.b", "call", "__class__", "\x1b", "0", "a/b", "..")): value[key]}
    return {**value, key: _changed(value[key], choose, depth - 1)}
