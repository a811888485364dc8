"""Names with placeholders for numbers, such as `layer{i+1}.{j}.weight`."""

import functools
import re
from collections.abc import Mapping

PREFIX = "prefix"
"""The one placeholder that stands for a piece of text: the `{prefix}` of a layout with a `Prefix`."""

_PLACEHOLDER = re.compile(r"\{([a-z]\w*)([+-]\d+)?\}")


@functools.lru_cache(maxsize=4096)
def placeholders(pattern: str) -> tuple[str, ...]:
    """The placeholders of a pattern, each once, in order.

    >>> placeholders("layer{i+1}.{j}.weight")
    ('i', 'j')
    """
    return tuple(dict.fromkeys(found[1] for found in _PLACEHOLDER.finditer(pattern) if found[1] != PREFIX))


def find(pattern: str, name: str) -> dict[str, int] | None:
    """The number that each placeholder stands for in `name`; None where the name does not match.

    >>> find("layer{i+1}.{j}.weight", "layer3.0.weight")
    {'i': 2, 'j': 0}
    >>> find("layer{i+1}.{j}.weight", "layer3.0.bias") is None
    True
    """
    regex, offsets = _compiled(pattern)
    found = regex.fullmatch(name)
    if found is None:
        return None
    numbers = {key: int(text) - offsets[key] for key, text in found.groupdict().items()}
    sound = all(number >= 0 for number in numbers.values()) and fill(pattern, numbers) == name
    return numbers if sound else None


def fill(pattern: str, numbers: Mapping[str, int]) -> str:
    """The name that a pattern gives for these numbers.

    >>> fill("layer{i+1}.{j}.weight", {"i": 2, "j": 0})
    'layer3.0.weight'
    """
    return _PLACEHOLDER.sub(lambda found: str(numbers[found[1]] + int(found[2] or 0)), pattern)


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> tuple[re.Pattern[str], dict[str, int]]:
    pieces: list[str] = []
    offsets: dict[str, int] = {}
    at = 0
    for found in _PLACEHOLDER.finditer(pattern):
        pieces.append(re.escape(pattern[at : found.start()]))
        key, offset = found[1], int(found[2] or 0)
        pieces.append(r"\d+" if key in offsets else rf"(?P<{key}>\d+)")
        offsets.setdefault(key, offset)
        at = found.end()
    return re.compile("".join(pieces) + re.escape(pattern[at:])), offsets
