"""Names of the leaves of a pytree, and rules that choose a value by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxdl.errors import ConfigError
from jaxdl.types import PyTree

Rules = Sequence[tuple[str, Any]]
"""`((regex, value), ...)`: the first regex that matches a whole name gives the value."""


def names(tree: PyTree) -> list[str]:
    """The name of every leaf, such as `block_0/dense/kernel`, in the order of `jax.tree.leaves`.

    >>> names({"dense": {"kernel": 1, "bias": 2}})
    ['dense/bias', 'dense/kernel']
    """
    return [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def name(path: jax.tree_util.KeyPath) -> str:
    """A key path as one string, its keys joined by `/`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def map_named(fn: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """Maps `fn(name, leaf, *rest_leaves)` over a tree.

    >>> map_named(lambda name, leaf: f"{name}={leaf}", {"a": {"b": 1}})
    {'a': {'b': 'a/b=1'}}
    """
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: fn(name(path), *leaves), tree, *rest)


def flatten(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by name, in the order of `jax.tree.leaves`; of nested dicts, the inverse of `nest`.

    >>> flatten({"a": {"b": 1, "c": 2}})
    {'a/b': 1, 'a/c': 2}
    """
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts out of names joined by `/`.

    >>> nest({"a/b": 1, "a/c": 2})
    {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for whole, value in flat.items():
        *parents, last = whole.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def count(tree: PyTree) -> int:
    """The number of scalars in a tree of arrays or of shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def match(rules: Rules, leaf_name: str) -> Any:
    """The value of the first rule whose regex matches the whole name.

    >>> match(((r".*bias", 0.0), (r".*", 1e-4)), "dense/bias")
    0.0

    Raises:
      KeyError: no rule matches.
    """
    for pattern, value in rules:
        if re.fullmatch(pattern, leaf_name):
            return value
    raise KeyError(leaf_name)


def check_patterns(rules: Rules, *, what: str) -> None:
    """Refuses rules whose patterns are no regular expressions.

    Raises:
      ConfigError: one is not.
    """
    for pattern, _ in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"The {what} rule {pattern!r} is no regular expression: {error}.") from error


def assign(rules: Rules, tree: PyTree, *, what: str) -> PyTree:
    """A tree like `tree` that holds, for each leaf, the value of its first matching rule.

    Args:
      rules: `((regex, value), ...)`.
      tree: Arrays or shapes; only its names matter.
      what: What the rules choose, for the message, such as `"weight decay"`.

    Raises:
      ConfigError: a leaf is matched by no rule; or a rule matches no leaf at all.
    """
    check_patterns(rules, what=what)
    leaf_names = names(tree)
    missing = [n for n in leaf_names if not any(re.fullmatch(pattern, n) for pattern, _ in rules)]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ConfigError(
            f"No {what} rule matches {shown}. The rules are {[pattern for pattern, _ in rules]}; "
            "end them with ('.*', value) to cover the rest."
        )
    unused = [
        pattern for pattern, _ in rules if pattern != ".*" and not any(re.fullmatch(pattern, n) for n in leaf_names)
    ]
    if unused:
        raise ConfigError(
            f"{what.capitalize()} rules {unused} match no parameter. There are: {', '.join(leaf_names[:20])}."
        )
    return map_named(lambda n, _: match(rules, n), tree)
