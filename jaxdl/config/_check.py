"""Finding every mistake in a config at once, before anything is made."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxdl.config import _tree, _types
from jaxdl.config._names import is_reference, name_of, nearest, resolve, resolve_call
from jaxdl.config._show import join, origin_of
from jaxdl.config._signature import annotations, signature
from jaxdl.errors import ConfigError


class _Place(NamedTuple):
    """Where a value stands: its key, its origin, and the node and path below it that tell the origin of its items."""

    key: str
    origin: str
    node: _tree.Config
    path: str

    def item(self, name: str) -> "_Place":
        path = join(self.path, name)
        return _Place(join(self.key, name), origin_of(self.node, path, self.origin), self.node, path)

    def inside(self, node: _tree.Config) -> "_Place":
        return _Place(self.key, self.origin, node, "")


def check(config: ConfigDict, root: Callable[..., Any] | None = None, *, allow: Sequence[str] | None = None) -> None:
    """Checks a whole config against the signatures and annotations of its callables; nothing is called.

    Annotations that say nothing about plain data, and arguments without one, are not checked.

    Args:
      config: A spec, or a ConfigDict of specs.
      root: The callable that the config itself must be a call of, where that is known.
      allow: As for `build`.

    Raises:
      ConfigError: one line for each problem, with the key, the value, what would fit, and the origin.
    """
    tree = _tree.copy_tree(config)
    problems: list[str] = []
    if root is not None and not _calls(tree, root, allow):
        called = tree[_tree.CALL] if _tree.is_spec(tree) else "no call"
        problems.append(f"config: it must be a call of {name_of(root)}, not {called}.")
    problems += _value(tree, _Place("", "", tree, ""), _types.UNKNOWN, allow)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n  ".join([f"{count} in the config:", *problems]))


def _calls(tree: _tree.Config, root: Callable[..., Any], allow: Sequence[str] | None) -> bool:
    if not _tree.is_spec(tree):
        return False
    try:
        found = resolve_call(tree[_tree.CALL], allow)
    except ConfigError:
        return True  # Reported with its reason when the node is checked.
    return found is root or (isinstance(root, type) and isinstance(found, type) and issubclass(found, root))


def _value(value: Any, place: _Place, hint: Any, allow: Sequence[str] | None) -> list[str]:
    if _tree.is_spec(value):
        return _spec(value, place.inside(value), hint, allow)
    if isinstance(value, _tree.Config):
        return _mismatch({}, place, hint) + _items(value, place.inside(value), hint, allow)
    if isinstance(value, tuple) and any(isinstance(_tree.value_of(item), (_tree.Config, tuple)) for item in value):
        return _mismatch(tuple(map(_tree.value_of, value)), place, hint, deep=False) + _items(value, place, hint, allow)
    if isinstance(value, tuple):
        value = tuple(map(_tree.value_of, value))
    if not all(map(_tree.is_finite, value if isinstance(value, tuple) else (value,))):
        return [_line(place, f"{value!r} is not finite.")]
    names = [item for item in (value if isinstance(value, tuple) else (value,)) if is_reference(item)]
    return [line for name in names for line in _reference(name, place, allow)] or _mismatch(value, place, hint)


def _items(value: _tree.Config | tuple[Any, ...], place: _Place, hint: Any, allow: Sequence[str] | None) -> list[str]:
    lines = []
    for name, item in _tree.children(value):
        below = _types.item_hint(hint, int(name) if isinstance(value, tuple) else None)
        lines += _value(item, place.item(name), below, allow)
    return lines


def _spec(node: _tree.Config, place: _Place, hint: Any, allow: Sequence[str] | None) -> list[str]:
    call = place.item(_tree.CALL)
    try:
        fn = resolve_call(node[_tree.CALL], allow)
        known, hints = signature(fn), annotations(fn)
    except ConfigError as error:
        return [_line(call._replace(key=place.key), str(error))]
    name = node[_tree.CALL]
    lines = []
    if isinstance(fn, type) and _types.names_class(hint) and not issubclass(fn, _types.classes(hint)):
        lines.append(_line(call._replace(key=place.key), f"wants {_types.describe(hint)}, not a call of {name}."))
    for word, item in _tree.children(node)[1:]:
        if known.takes(word):
            lines += _value(item, place.item(word), hints.get(word, _types.UNKNOWN), allow)
        else:
            lines.append(_line(place.item(word), f"{name} has no argument {word!r}.{nearest(word, known.names)}"))
    absent = [word for word in sorted(known.required) if word not in node]
    return lines + [_line(call._replace(key=join(place.key, word)), _missing(place.key, word, name)) for word in absent]


def _missing(key: str, word: str, name: str) -> str:
    return f"missing value, which {name} needs; give --config.{join(key, word)}=..."


def _mismatch(value: Any, place: _Place, hint: Any, *, deep: bool = True) -> list[str]:
    """A line when the value does not fit; not `deep`, only its outside counts."""
    try:
        _types.exact(value, hint if deep else _types.outside(hint))
    except _types.MismatchError as error:
        return [_line(place, f"{error}.")]
    return []


def _reference(name: str, place: _Place, allow: Sequence[str] | None) -> list[str]:
    try:
        resolve(name[1:], allow)
    except ConfigError as error:
        return [_line(place, str(error))]
    return []


def _line(place: _Place, message: str) -> str:
    origin = f" ({place.origin})" if place.origin else ""
    return f"{place.key or 'config'}: {message}{origin}"
