"""The tree a config is: ConfigDicts that know where their values came from, tuples, references and plain values."""

import copy
import dataclasses
import enum
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import config_dict

from jaxdl.config._names import name_of
from jaxdl.config._origins import assignment_origin
from jaxdl.config._signature import is_linen
from jaxdl.errors import ConfigError

CALL = "call"
"""The key that marks a ConfigDict as a spec; its value is the callable, as `module:name`."""
MAX_DEPTH = 32
"""Deeper trees are a config that holds itself, or an attack."""


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "(absent)"

    def __repr__(self) -> str:
        return self.value


ABSENT = Absent.ABSENT
"""Stands where a config has no value."""


class Config(config_dict.ConfigDict):
    """A ConfigDict that remembers where each of its values came from.

    `_origins` maps a key, or a path below it such as `betas.0`, to a place. `_open_keys` are the arguments without a
    default that were left out, and may still be assigned. Types are not enforced on assignment: the annotations of
    the callable decide, when the config is checked.
    """

    _origins: dict[str, str]
    _open_keys: frozenset[str]

    def __init__(self, initial: Mapping[str, Any] | None = None, type_safe: bool = False, **options: Any) -> None:
        object.__setattr__(self, "_origins", {})
        object.__setattr__(self, "_open_keys", frozenset())
        super().__init__(initial, type_safe=type_safe, **options)

    def __setitem__(self, key: str, value: Any) -> None:
        if self.is_locked and key in self._open_keys:
            put(self, key, plain(value))
        else:
            super().__setitem__(key, plain(value))
        mark(self, key, assignment_origin())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        object.__setattr__(self, "_origins", state["_origins"])
        object.__setattr__(self, "_open_keys", state["_open_keys"])

    def __str__(self) -> str:
        return json.dumps(as_data(self), indent=2, default=repr)

    __repr__ = __str__


def node(values: Mapping[str, Any], origins: Mapping[str, str], open_keys: frozenset[str] = frozenset()) -> Config:
    """A locked Config of values that are plain already."""
    made = Config()
    for key, value in values.items():
        config_dict.ConfigDict.__setitem__(made, key, value)
    object.__setattr__(made, "_origins", dict(origins))
    object.__setattr__(made, "_open_keys", open_keys)
    made.lock()
    return made


def put(parent: Config, key: str, value: Any) -> None:
    """Sets a field to any value, also a new field of a locked Config."""
    parent.unlock()
    if key in parent:
        del parent[key]
    config_dict.ConfigDict.__setitem__(parent, key, value)
    parent.lock()


def mark(parent: Config, path: str, origin: str) -> None:
    """Notes the origin of a field, or of a path below it, and forgets what was known of anything further below."""
    for known in [known for known in parent._origins if known.startswith(f"{path}.")]:
        del parent._origins[known]
    parent._origins[path] = origin


def mark_at(root: Config, key: str, origin: str) -> None:
    """Notes the origin of a dotted key, in the deepest node on its way."""
    parent, path, value = root, "", root
    for part in key.split("."):
        if isinstance(value, Config):
            parent, path = value, ""
        path = f"{path}.{part}" if path else part
        found = dict(children(value)) if isinstance(value, (Config, tuple)) else {}
        if part not in found:
            return
        value = found[part]
    mark(parent, path, origin)


def origins(parent: Config) -> dict[str, str]:
    """The origins of a node's fields and of paths below them."""
    return parent._origins


def is_spec(value: Any) -> bool:
    """Whether a value describes a call."""
    return isinstance(value, config_dict.ConfigDict) and CALL in value


def fields(parent: config_dict.ConfigDict) -> dict[str, Any]:
    """The fields in order, references kept as they are."""
    return dict(parent.items(preserve_field_references=True))


def value_of(field: Any) -> Any:
    """What a field holds now, references followed.

    Raises:
      ConfigError: the reference is a `required_placeholder` without a value, which no ConfigDict can be read with.
    """
    if not isinstance(field, config_dict.FieldReference):
        return field
    try:
        return field.get()
    except config_dict.RequiredValueError as error:
        raise ConfigError("Leave a required argument out instead of giving it a required_placeholder.") from error


def children(parent: Config | tuple[Any, ...]) -> list[tuple[str, Any]]:
    """Keys and values one level down, references followed; a spec's `call` comes first."""
    if isinstance(parent, tuple):
        return [(str(index), value_of(item)) for index, item in enumerate(parent)]
    items = [(key, value_of(field)) for key, field in fields(parent).items()]
    return sorted(items, key=lambda item: item[0] != CALL)


def plain(value: Any, depth: int = 0) -> Any:
    """A value as a config holds it: specs and references as they are, sequences as tuples, functions by name.

    An instance of a dataclass or NamedTuple becomes the spec that makes it.

    Raises:
      ConfigError: the value is not data, and no config can name it.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"A value is nested deeper than {MAX_DEPTH} levels, or holds itself.")
    if value is None or isinstance(value, (bool, Config)):
        return value
    if isinstance(value, config_dict.FieldReference):
        value_of(value)
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (config_dict.ConfigDict, Mapping)):
        return _plain_mapping(value, depth)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _plain_instance(value, value._fields, depth)
    if isinstance(value, (list, tuple)):
        return tuple(plain(item, depth + 1) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_instance(value, [field.name for field in dataclasses.fields(value) if field.init], depth)
    if callable(value):
        return f"@{name_of(value)}"
    raise ConfigError(
        f"A config cannot hold {value!r} ({type(value).__name__}); it holds numbers, strings, booleans, None, "
        "tuples, dicts, functions at module level and specs."
    )


def _plain_instance(value: Any, names: Iterable[str], depth: int) -> Config:
    """The call that makes an instance like this one."""
    hidden = ("parent", "name") if is_linen(type(value)) else ()
    items = {name: plain(getattr(value, name), depth + 1) for name in names if name not in hidden}
    return node({CALL: name_of(type(value)), **items}, {})


def _plain_mapping(value: Any, depth: int) -> Config:
    items = fields(value) if isinstance(value, config_dict.ConfigDict) else dict(value)
    for key in items:
        if not isinstance(key, str) or not key or "." in key or not key.isprintable():
            raise ConfigError(f"A key of a config must be a printable string without dots, not {key!r}.")
    return node({key: plain(item, depth + 1) for key, item in items.items()}, {})


def copy_tree(value: Any, memo: dict[int, Any] | None = None, depth: int = 0) -> Any:
    """A copy that shares nothing with the original, every node a locked Config.

    A node used in two places becomes two nodes; a reference used in two places stays one reference.
    """
    memo = {} if memo is None else memo
    if depth > MAX_DEPTH:
        raise ConfigError(f"The config is nested deeper than {MAX_DEPTH} levels, or holds itself.")
    if isinstance(value, config_dict.FieldReference):
        held = value_of(value)
        return copy_tree(held, memo, depth) if isinstance(held, config_dict.ConfigDict) else copy.deepcopy(value, memo)
    value = plain(value, depth)
    if isinstance(value, tuple):
        return tuple(copy_tree(item, memo, depth + 1) for item in value)
    if not isinstance(value, Config):
        return value
    copied = {key: copy_tree(item, memo, depth + 1) for key, item in fields(value).items()}
    return node(copied, value._origins, value._open_keys)


def as_data(value: Any) -> Any:
    """The tree as dicts, lists and plain values, references followed."""
    value = value_of(value)
    if isinstance(value, config_dict.ConfigDict):
        return {key: as_data(item) for key, item in fields(value).items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    return value


def is_finite(value: Any) -> bool:
    """False for a NaN or infinite number alone."""
    return not isinstance(value, float) or math.isfinite(value)
