"""A config as lines: every value with its key and its origin, and what differs between two configs."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdl.config import _tree
from jaxdl.config._literal import render


class Leaf(NamedTuple):
    """One value of a config: `key` as on the command line, and where the value came from ('' where unknown)."""

    key: str
    value: Any
    origin: str


def flatten(config: ConfigDict) -> list[Leaf]:
    """All values of a config in order; the callable of a spec is the value of its `call`.

    A tuple is one value unless a spec or dict is inside.
    """
    leaves: list[Leaf] = []
    _collect(_tree.copy_tree(config), "", "", leaves)
    return leaves


def show(config: ConfigDict) -> str:
    """One line `key = value   # origin` for each value; `--config.key=value` would set it."""
    leaves = flatten(config)
    lines = [(leaf.key, leaf.value if _is_call(leaf.key) else render(leaf.value), leaf.origin) for leaf in leaves]
    key_width = max((len(key) for key, _, _ in lines), default=0)
    value_width = max((len(value) for _, value, _ in lines if len(value) <= 40), default=0)
    rows = [
        f"{key:<{key_width}} = {value:<{value_width}}" + (f"  # {origin}" if origin else "")
        for key, value, origin in lines
    ]
    return "\n".join(row.rstrip() for row in rows)


def diff(a: ConfigDict, b: ConfigDict) -> list[tuple[str, Any, Any]]:
    """`(key, value in a, value in b)` for each value that differs in value or type; `ABSENT` where there is none."""
    left, right = ({leaf.key: leaf.value for leaf in flatten(config)} for config in (a, b))
    keys = [*left, *(key for key in right if key not in left)]
    pairs = [(key, left.get(key, _tree.ABSENT), right.get(key, _tree.ABSENT)) for key in keys]
    return [(key, was, now) for key, was, now in pairs if not same(was, now)]


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in value and type, all the way down: 1 is not 1.0, nor True."""
    return render(a) == render(b)


def text_of(spec: _tree.Config) -> str:
    """A spec as a text that equal specs share, whatever their origins."""
    return render(_tree.as_data(spec))


def origin_of(parent: _tree.Config, path: str, inherited: str) -> str:
    """The origin of a path below a node: its own, else that of the value it is part of, else the inherited one."""
    while path:
        if path in _tree.origins(parent):
            return _tree.origins(parent)[path]
        path = path.rpartition(".")[0]
    return inherited


def join(*parts: str) -> str:
    """A key from its parts, empty ones left out."""
    return ".".join(part for part in parts if part)


def _is_call(key: str) -> bool:
    return key.rpartition(".")[2] == _tree.CALL


def _collect(node: _tree.Config, key: str, inherited: str, leaves: list[Leaf]) -> None:
    for name, value in _tree.children(node):
        _visit(node, name, value, join(key, name), origin_of(node, name, inherited), leaves)
    if not node and key:
        leaves.append(Leaf(key, {}, inherited))


def _visit(node: _tree.Config, path: str, value: Any, key: str, origin: str, leaves: list[Leaf]) -> None:
    """One value at `path` below the nearest node."""
    if isinstance(value, _tree.Config):
        _collect(value, key, origin, leaves)
    elif isinstance(value, tuple) and _holds_nodes(value):
        for index, item in _tree.children(value):
            below = join(path, index)
            _visit(node, below, item, join(key, index), origin_of(node, below, origin), leaves)
    else:
        leaves.append(Leaf(key, _followed(value), origin))


def _holds_nodes(value: Any) -> bool:
    value = _tree.value_of(value)
    return isinstance(value, _tree.Config) or (isinstance(value, tuple) and any(map(_holds_nodes, value)))


def _followed(value: Any) -> Any:
    value = _tree.value_of(value)
    return tuple(map(_followed, value)) if isinstance(value, tuple) else value
