"""The language of values on the command line. Nothing in it is ever executed.

    value    = number | true | false | null | string | word | sequence | mapping | reference | call
    sequence = ( value, ... ) | [ value, ... ]         both are tuples; (3) is a tuple of one
    mapping  = { key: value, ... }
    call     = module:name(keyword=value, ...)
    reference = @module:name

A word needs no quotes. At the top level a text that begins like none of the others is one string, spaces and all.
"""

import math
import re
from typing import Any, NamedTuple

from jaxdl.config._names import NAME, REFERENCE
from jaxdl.errors import ConfigError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8

_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4})|([\\'\"nrt]))")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*(?:_\d+)*)", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_CALL = re.compile(rf"({NAME.pattern})\s*\(", re.ASCII)
_WORD = re.compile(r"[^\s,()\[\]{}'\"=:]+")
_KEYWORD = re.compile(r"([A-Za-z_]\w*)\s*=", re.ASCII)
_SPACE = re.compile(r"\s*")
_CLOSING = {"(": ")", "[": "]"}
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class Call(NamedTuple):
    """A call as written: its callable by name and its keywords."""

    name: str
    kwargs: dict[str, Any]


def parse(text: str) -> Any:
    """Reads one value.

    >>> parse("3e-4"), parse("(1, [true, null], a-word)"), parse("{'data': -1}")
    (0.0003, (1, (True, None), 'a-word'), {'data': -1})

    Raises:
      ConfigError: the text is not a value, is too long or too deep, or holds a number that is not finite.
    """
    text = checked_size(text).strip()
    if not text:
        raise ConfigError("There is no value after '='; write '' for an empty string.")
    if text[0] not in "([{'\"" and not _CALL.match(text):
        return _scalar(text)
    value, end = _value(text, 0, 0)
    if end != len(text):
        raise ConfigError(f"Cannot read {_excerpt(text, end)}: there is more after the value.")
    return value


def checked_size(text: str) -> str:
    """The text itself.

    Raises:
      ConfigError: it is longer than `MAX_BYTES`.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"A value of {len(text)} characters is too long; the limit is {MAX_BYTES} bytes.")
    return text


def render(value: Any) -> str:
    """Writes a value so that `parse` reads it back.

    >>> render(("a", 0.5, None, "@jax.nn:gelu"))
    "('a', 0.5, None, @jax.nn:gelu)"
    """
    if isinstance(value, str):
        return value if REFERENCE.fullmatch(value) else quote(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(render, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(key)}: {render(item)}" for key, item in value.items()) + "}"
    return repr(value)


def quote(text: str) -> str:
    """A string in quotes, with nothing in it that could move a terminal's cursor."""
    return "'" + "".join(_ESCAPES[c] if c in _ESCAPES else c if c.isprintable() else _code(c) for c in text) + "'"


def _code(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _value(text: str, start: int, depth: int) -> tuple[Any, int]:
    start = _skip(text, start)
    character = text[start : start + 1]
    call = _CALL.match(text, start)
    if depth >= MAX_DEPTH and (call or character in ("(", "[", "{")):
        raise ConfigError(f"A value is nested deeper than {MAX_DEPTH} levels.")
    if character in ("(", "["):
        return _sequence(text, start, depth)
    if character == "{":
        return _mapping(text, start, depth)
    if character in ("'", '"'):
        return _string(text, start)
    if call:
        return _call(text, call.end(), depth, call[1])
    for pattern in (REFERENCE, NAME):
        if name := pattern.match(text, start):
            return name[0], name.end()
    word = _expect(_WORD, text, start, "a value")
    return _scalar(word[0]), word.end()


def _sequence(text: str, start: int, depth: int) -> tuple[tuple[Any, ...], int]:
    close = _CLOSING[text[start]]
    items = []
    position = _skip(text, start + 1)
    while not text.startswith(close, position):
        item, position = _value(text, position, depth + 1)
        items.append(item)
        position = _separator(text, position, close)
    return tuple(items), position + 1


def _mapping(text: str, start: int, depth: int) -> tuple[dict[str, Any], int]:
    items: dict[str, Any] = {}
    position = _skip(text, start + 1)
    while not text.startswith("}", position):
        if text[position : position + 1] in ("'", '"'):
            key, position = _string(text, position)
        else:
            word = _expect(_WORD, text, position, "a key")
            key, position = word[0], word.end()
        colon = _expect(re.compile(":"), text, _skip(text, position), "':'")
        value, position = _value(text, colon.end(), depth + 1)
        _add(items, key, value)
        position = _separator(text, position, "}")
    return items, position + 1


def _call(text: str, start: int, depth: int, name: str) -> tuple[Call, int]:
    kwargs: dict[str, Any] = {}
    position = _skip(text, start)
    while not text.startswith(")", position):
        keyword = _expect(_KEYWORD, text, position, "keyword=value")
        value, position = _value(text, keyword.end(), depth + 1)
        _add(kwargs, keyword[1], value)
        position = _separator(text, position, ")")
    return Call(name, kwargs), position + 1


def _add(items: dict[str, Any], key: str, value: Any) -> None:
    if key in items:
        raise ConfigError(f"{key!r} is given twice.")
    items[key] = value


def _separator(text: str, start: int, close: str) -> int:
    """The position of the next item, or of the closing bracket."""
    start = _skip(text, start)
    if text.startswith(close, start):
        return start
    return _skip(text, _expect(re.compile(","), text, start, f"',' or {close!r}").end())


def _string(text: str, start: int) -> tuple[str, int]:
    found = _expect(_STRING, text, start, "the end of a string")
    return _ESCAPE.sub(_unescape, found[0][1:-1]), found.end()


def _unescape(found: re.Match[str]) -> str:
    """One escape; any other backslash stays, so that a regex needs no doubling."""
    code = found[1] or found[2]
    if not code:
        return _UNESCAPES[found[3]] if found[3] in _UNESCAPES else found[3]
    if int(code, 16) > 0x10FFFF:
        raise ConfigError(f"{found[0]} is not a character.")
    return chr(int(code, 16))


def _scalar(word: str) -> Any:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        if len(word) > 24 or not -(2**63) <= int(word) < 2**63:
            raise ConfigError(f"The number {word[:24]} does not fit in 64 bits.")
        return int(word)
    if _NOT_FINITE.fullmatch(word) or (_FLOAT.fullmatch(word) and not math.isfinite(float(word))):
        raise ConfigError(f"{word[:24]} is not a finite number; for a string, put it in quotes.")
    return float(word) if _FLOAT.fullmatch(word) else word


def _expect(pattern: re.Pattern[str], text: str, start: int, what: str) -> re.Match[str]:
    found = pattern.match(text, start)
    if found is None:
        raise ConfigError(f"Cannot read {_excerpt(text, start)}: {what} should be here.")
    return found


def _excerpt(text: str, position: int) -> str:
    return f"{text[max(0, position - 20) : position]!r} before {text[position : position + 20]!r}"


def _skip(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
