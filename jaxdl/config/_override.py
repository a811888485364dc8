"""Changing a config from the command line."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from jaxdl.config import _literal, _tree, _types
from jaxdl.config._names import NAME, is_reference, nearest, resolve, resolve_call
from jaxdl.config._show import diff, flatten, join
from jaxdl.config._signature import annotations, signature
from jaxdl.config._spec import write
from jaxdl.errors import ConfigError

MAX_PARTS = 64


class _Setting(NamedTuple):
    """One `key=text`, the config it changes, and what its new specs may name."""

    key: str
    text: str
    root: _tree.Config
    allow: Sequence[str] | None

    @property
    def origin(self) -> str:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return f"flag --config.{self.key}={shown if shown.isprintable() else _literal.quote(shown)}"


def override(config: ConfigDict, settings: Sequence[str], *, allow: Sequence[str] | None = None) -> ConfigDict:
    """A new config with values replaced, as `key=value` says.

    Keys are dotted, with an index for an item of a tuple: `train.transforms.0.padding=2`. Values are numbers, strings
    (quotes only where needed), true, false, null, `(1, 2)`, `{data: 4}`, a function as `@module:name`, or a call:

    - `model=jaxdl.models:MLP(width=64)` replaces a spec. Arguments that are not given have the defaults of the new
      callable; those without a default keep the value that the replaced spec had under that name, if it had one.
      The brackets may be left out where the present value is a call: `model=jaxdl.models:MLP`.
    - A new value must fit the annotation; an int becomes a float and 3.0 becomes 3 where that is wanted.
    - Only keys that exist can be set. To add an entry to a dict, give the whole dict: `mesh={data: 4, fsdp: 2}`.
    - A reference (`ref`) changes everywhere at once.

    Settings of whole specs apply before settings inside them, in whatever order they come.

    Raises:
      ConfigError: one line for each setting that cannot be made, with the nearest valid key.
    """
    root = _tree.copy_tree(config)
    problems: list[str] = []
    parsed: dict[str, _Setting] = {}
    for text in settings:
        key, equals, value = text.removeprefix("--").removeprefix("config.").partition("=")
        if not equals:
            problems.append(f"{text[:80]!r} is not of the form key=value.")
        elif key in parsed:
            problems.append(f"{key} is given twice, as {parsed[key].text[:40]!r} and as {value[:40]!r}.")
        else:
            parsed[key] = _Setting(key, value, root, allow)
    applied: dict[str, _Setting] = {}
    for setting in sorted(parsed.values(), key=lambda setting: setting.key.count(".")):
        try:
            moved = _apply(root, setting)
        except ConfigError as error:
            problems.append(str(error))
            continue
        problems += [
            f"{key} and {setting.key} are one value (a ref), so they cannot become {applied[key].text[:40]!r} and "
            f"{setting.text[:40]!r}; to part them, change the config file."
            for key in moved
            if key in applied
        ]
        applied[setting.key] = setting
    if problems:
        raise ConfigError("\n".join(problems))
    return root


def _apply(root: _tree.Config, setting: _Setting) -> list[str]:
    """Sets one value in place, notes the flag as the origin of all that it changed, and returns the keys of that."""
    parts = setting.key.split(".")
    if not all(parts) or len(parts) > MAX_PARTS or not setting.key.isprintable():
        raise ConfigError(f"{setting.key[:80]!r} is not a key; write it as in optimizer.learning_rate=0.1.")
    if parts == [_tree.CALL] and _tree.is_spec(root):
        raise ConfigError("call: the config itself cannot become another call; choose another config file.")
    before = _tree.copy_tree(root)
    _set(root, parts, setting, _types.UNKNOWN, "")
    _tree.mark_at(root, setting.key, setting.origin)
    unmoved = {leaf.key: leaf.origin for leaf in flatten(before)}
    moved = [key for key, _, _ in diff(before, root)]
    for key in moved:
        if key in unmoved and not f"{key}.".startswith(f"{setting.key}."):
            _tree.mark_at(root, key, setting.origin)
    return moved


def _set(current: Any, parts: Sequence[str], setting: _Setting, hint: Any, key: str) -> Any:
    """What stands in the place of `current` once the part of it that `parts` leads to has its new value."""
    if not parts or (list(parts) == [_tree.CALL] and _tree.is_spec(current)):
        return _leaf(current, setting, hint)
    head, rest = parts[0], parts[1:]
    if isinstance(current, _tree.Config):
        fields = _tree.fields(current)
        below = _field_hint(current, head, hint, setting)
        child = fields.get(head, _tree.ABSENT)
        _tree.put(current, head, _set(child, rest, setting, below, join(key, head)))
        return current
    if isinstance(current, tuple):
        index = _index(current, head, setting, key)
        below = _types.item_hint(hint, index)
        return (*current[:index], _set(current[index], rest, setting, below, join(key, head)), *current[index + 1 :])
    held = "has no value yet" if current is _tree.ABSENT else f"is {_types.kind(_tree.value_of(current))}"
    raise ConfigError(f"{setting.key}: {key} {held}, so there is nothing below it to set.")


def _field_hint(node: _tree.Config, name: str, hint: Any, setting: _Setting) -> Any:
    """The annotation of a field that may be set; for an entry of a dict, the type it has now.

    Raises:
      ConfigError: there is no such field.
    """
    if not _tree.is_spec(node):
        if name not in node:
            raise ConfigError(_unknown(node, name, node.keys(), setting))
        value, below = _tree.value_of(_tree.fields(node)[name]), _types.item_hint(hint, None)
        return type(value) | None if below is _types.UNKNOWN and isinstance(value, (bool, int, float, str)) else below
    fn = resolve_call(node[_tree.CALL], setting.allow)
    known, hints = signature(fn), annotations(fn)
    if not known.takes(name) or (known.is_open and name not in known.names and name not in node):
        raise ConfigError(_unknown(node, name, {*known.names, *node.keys()} - {_tree.CALL}, setting))
    return hints.get(name, _types.UNKNOWN)


def _unknown(node: _tree.Config, name: str, names: Iterable[str], setting: _Setting) -> str:
    what = f"{node[_tree.CALL]} has no argument" if _tree.is_spec(node) else "there is no"
    elsewhere = [leaf.key for leaf in flatten(setting.root) if leaf.key.endswith(f".{name}")][:5]
    hint = f" Did you mean {' or '.join(map(repr, elsewhere))}?" if elsewhere else nearest(name, names, show=False)
    return f"{setting.key}: {what} {name!r}.{hint} Valid here: {', '.join(sorted(names)) or 'nothing'}."


def _index(items: tuple[Any, ...], part: str, setting: _Setting, key: str) -> int:
    if not (part.isascii() and part.isdigit() and len(part) < 9 and int(part) < len(items)):
        span = f"0 to {len(items) - 1}" if items else "none, since it is empty"
        raise ConfigError(f"{setting.key}: {key} is a tuple, whose items have the keys {span}, not {part!r}.")
    return int(part)


def _leaf(current: Any, setting: _Setting, hint: Any) -> Any:
    """The new value; a reference stays one and takes the value on."""
    held = _tree.value_of(current)
    try:
        value = _fitting(_named(_read(setting.text, hint), held), held, hint, setting)
    except (ConfigError, _types.MismatchError) as error:
        raise ConfigError(f"{setting.key}: {error}") from error
    if isinstance(current, config_dict.FieldReference) and not isinstance(value, _tree.Config):
        current.set(value, type_safe=False)
        return current
    return value


def _read(text: str, hint: Any) -> Any:
    """Parses a text; where only a string fits, it is the string, whatever it looks like."""
    stripped = _literal.checked_size(text).strip()
    as_it_is = stripped and stripped[0] not in "'\"" and not (stripped in ("null", "None") and _types.takes_none(hint))
    return text if _types.is_text(hint) and as_it_is else _literal.parse(text)


def _named(value: Any, held: Any) -> Any:
    """A bare `module:name` means what the present value is: a call, or a function."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        return value
    if _tree.is_spec(held):
        return _literal.Call(value, {})
    return f"@{value}" if is_reference(held) else value


def _fitting(value: Any, held: Any, hint: Any, setting: _Setting) -> Any:
    made = _made(value, held, setting)
    if _tree.is_spec(held) and not _tree.is_spec(made) and made is not None and not _types.takes_data(hint):
        raise ConfigError(
            f"the present value is a call of {held[_tree.CALL]}; set its arguments one by one, "
            f"or replace it by module:name(argument=value), not by {_types.kind(made)}."
        )
    is_word = isinstance(made, str) and not NAME.fullmatch(made.removeprefix("@"))
    if is_word and is_reference(held) and not _types.takes_text(hint):
        example = f"{held.partition(':')[0]}:{made}"
        raise ConfigError(f"wants a function as @module:name, such as {example[:80]}, not {_types.kind(made)}.")
    try:
        return _types.conform(made, hint)
    except _types.MismatchError:
        if isinstance(made, str) and NAME.fullmatch(made):
            return _types.conform(_made(f"@{made}", held, setting), hint)
        raise


def _made(value: Any, held: Any, setting: _Setting) -> Any:
    """A parsed value as the tree holds it: calls as specs, dicts as nodes, names looked up."""
    if isinstance(value, _literal.Call):
        return _spec(value, held, setting)
    if isinstance(value, tuple):
        return tuple(_made(item, None, setting) for item in value)
    if isinstance(value, dict):
        return _tree.plain({key: _made(item, None, setting) for key, item in value.items()})
    if is_reference(value):
        resolve(value[1:], setting.allow)
    return value


def _spec(call: _literal.Call, held: Any, setting: _Setting) -> _tree.Config:
    fn = resolve_call(call.name, setting.allow)
    hints = annotations(fn)
    kwargs = {name: _made(value, None, setting) for name, value in call.kwargs.items()}
    for name in kwargs:
        try:
            kwargs[name] = _types.conform(kwargs[name], hints.get(name, _types.UNKNOWN))
        except _types.MismatchError as error:
            raise ConfigError(f"argument {name!r} of {call.name} {error}.") from error
    kept = _tree.fields(held) if _tree.is_spec(held) else {}
    kept = {name: kept[name] for name in signature(fn).required if name in kept and name not in kwargs}
    known = _tree.origins(held) if kept else {}
    origins = {name: known[name] for name in kept if name in known}
    return write(fn, {**kept, **kwargs}, {**origins, **dict.fromkeys(kwargs, setting.origin)}, setting.origin)
