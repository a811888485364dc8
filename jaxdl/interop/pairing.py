"""Which tensors of ours and theirs each rule of a layout is about, expanded from the names that are there."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from jaxdl.interop import patterns
from jaxdl.interop.layout import Ignored, Layout, Prefix, Rule, Tied

Numbers = tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One rule with its placeholders filled in; a name need not exist."""

    rule: Rule
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def resolve(layout: Layout, prefix: str) -> Layout:
    """The layout with `{prefix}` filled in."""

    def filled(name: str) -> str:
        return name.replace(f"{{{patterns.PREFIX}}}", prefix)

    found: list[Rule | Ignored | Tied] = []
    for item in layout:
        if isinstance(item, Rule):
            found.append(dataclasses.replace(item, theirs=tuple(map(filled, several(item.theirs)))))
        elif isinstance(item, Ignored):
            beside = None if item.beside is None else filled(item.beside)
            found.append(dataclasses.replace(item, theirs=filled(item.theirs), beside=beside))
        elif isinstance(item, Tied):
            found.append(dataclasses.replace(item, theirs=filled(item.theirs), to=filled(item.to)))
    return tuple(found)


def prefixes(layout: Layout) -> tuple[str, ...]:
    """What `{prefix}` may stand for."""
    found = [item.options for item in layout if isinstance(item, Prefix)]
    return found[0] if found else ("",)


def detect_prefix(layout: Layout, names: Iterable[str]) -> str:
    """The prefix with which the layout knows most of these names of theirs; of equals, the first."""
    options, names = prefixes(layout), list(names)
    if len(options) == 1:
        return options[0]
    return max(options, key=lambda option: sum(known(resolve(layout, option), name) for name in names))


def known(layout: Layout, name: str) -> bool:
    """Whether a resolved layout says anything of this name of theirs."""
    return any(
        patterns.find(pattern, name) is not None
        for item in layout
        if isinstance(item, Rule | Ignored | Tied)
        for pattern in several(item.theirs)
    )


def several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Always a tuple."""
    return (names,) if isinstance(names, str) else names


def pair(layout: Layout, ours: Iterable[str], theirs: Iterable[str]) -> list[Pair]:
    """All pairs that concern any of these names. A name belongs to the first rule that knows it.

    Args:
      layout: Resolved.
      ours: Names of ours; none where only theirs are known.
      theirs: Names of theirs; none where only ours are known.
    """
    left, right = dict.fromkeys(ours), dict.fromkeys(theirs)
    pairs: list[Pair] = []
    for item in layout:
        if isinstance(item, Rule):
            for one in _expand(item, list(left), list(right)):
                pairs.append(one)
                for name in one.ours:
                    left.pop(name, None)
                for name in one.theirs:
                    right.pop(name, None)
    return pairs


def _expand(rule: Rule, ours: Sequence[str], theirs: Sequence[str]) -> list[Pair]:
    sides = (several(rule.ours), several(rule.theirs))
    keys = [{key for pattern in side for key in patterns.placeholders(pattern)} for side in sides]
    shared = keys[0] & keys[1]
    groups: dict[Numbers, tuple[dict[str, set[int]], dict[str, set[int]]]] = {}
    for side, present in enumerate((ours, theirs)):
        for pattern, name in itertools.product(sides[side], present):
            numbers = patterns.find(pattern, name)
            if numbers is None:
                continue
            group = groups.setdefault(
                tuple(sorted((key, number) for key, number in numbers.items() if key in shared)), ({}, {})
            )
            for key, number in numbers.items():
                if key not in shared:
                    group[side].setdefault(key, set()).add(number)
    return [
        Pair(
            rule,
            *(
                tuple(name for pattern in side for name in spread(pattern, dict(numbers), gathered))
                for side, gathered in zip(sides, group)
            ),
        )
        for numbers, group in sorted(groups.items())
    ]


def spread(pattern: str, numbers: Mapping[str, int], gathered: Mapping[str, Iterable[int]]) -> list[str]:
    """The names of a pattern for all values of the placeholders that only its side has.

    >>> spread("layer{i}.expert{e}", {"i": 3}, {"e": (0, 1)})
    ['layer3.expert0', 'layer3.expert1']
    """
    free = [key for key in patterns.placeholders(pattern) if key not in numbers]
    if any(key not in gathered for key in free):
        return []
    return [
        patterns.fill(pattern, {**numbers, **dict(zip(free, values))})
        for values in itertools.product(*(sorted(gathered[key]) for key in free))
    ]
