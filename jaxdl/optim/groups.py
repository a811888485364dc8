"""Splitting parameters into those that train and those that are frozen."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.trees import names
from jaxdl.types import PyTree


def partition(params: Mapping[str, Any], frozen: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits parameters into `(trainable, frozen)`: two nested dicts that share no leaf.

    A loss differentiated with respect to `trainable` alone computes no gradient for the rest and keeps no
    optimizer state for it. `merge` is the exact inverse.

    >>> partition({"encoder": {"kernel": 1}, "head": {"kernel": 2}}, ("encoder/.*",))
    ({'head': {'kernel': 2}}, {'encoder': {'kernel': 1}})

    Args:
      params: Nested dicts of arrays.
      frozen: Regular expressions; a parameter is frozen when one of them matches its whole name.

    Raises:
      ConfigError: an expression matches no parameter, or all parameters are frozen.
    """
    leaf_names = names(params)
    patterns = [_compile(pattern) for pattern in frozen]
    for pattern in patterns:
        if not any(pattern.fullmatch(leaf_name) for leaf_name in leaf_names):
            raise ConfigError(_nothing_matches(pattern.pattern, leaf_names))

    def is_frozen(leaf_name: str) -> bool:
        return any(pattern.fullmatch(leaf_name) for pattern in patterns)

    if leaf_names and all(map(is_frozen, leaf_names)):
        raise ConfigError(f"The frozen patterns {list(frozen)} match every parameter, so that nothing would train.")
    taken = _select(params, is_frozen, "")
    return _select(params, lambda leaf_name: not is_frozen(leaf_name), "", keep_empty=True), taken


def merge(trainable: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the two halves of `partition` together.

    >>> merge({"head": {"kernel": 2}}, {"encoder": {"kernel": 1}})
    {'head': {'kernel': 2}, 'encoder': {'kernel': 1}}

    Raises:
      ConfigError: a name is in both halves.
    """
    return _merge(trainable, frozen, "")


def _merge(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        if key not in merged:
            merged[key] = value
        elif isinstance(value, Mapping) and isinstance(merged[key], Mapping):
            merged[key] = _merge(merged[key], value, f"{prefix}{key}/")
        else:
            raise ConfigError(f"The parameter {prefix}{key} is in both the trainable and the frozen half.")
    return merged


def _select(tree: Mapping[str, Any], wanted: Callable[[str], bool], prefix: str, *, keep_empty: bool = False) -> dict:
    """The leaves whose name is wanted. `keep_empty` keeps dicts that were empty before, for an exact inverse."""
    chosen: dict[str, PyTree] = {}
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            if wanted(f"{prefix}{key}"):
                chosen[key] = value
            continue
        inner = _select(value, wanted, f"{prefix}{key}/", keep_empty=keep_empty)
        if inner or (keep_empty and not value):
            chosen[key] = inner
    return chosen


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"The frozen pattern {pattern!r} is not a regular expression: {error}.") from error


def _nothing_matches(pattern: str, leaf_names: Sequence[str]) -> str:
    inside = f"{pattern.rstrip('/')}/.*"
    if any(re.fullmatch(inside, leaf_name) for leaf_name in leaf_names):
        return f"The frozen pattern {pattern!r} matches no parameter; write {inside!r} for everything inside it."
    nearest = difflib.get_close_matches(pattern, leaf_names, n=3, cutoff=0.4) or list(leaf_names[:5])
    return f"The frozen pattern {pattern!r} matches no parameter. The nearest names are {', '.join(nearest)}."
