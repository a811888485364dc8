"""Whether a value fits an annotation, and what it becomes when it does."""

import collections.abc
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import config_dict

from jaxdl.config._literal import render
from jaxdl.config._names import is_reference
from jaxdl.config._signature import is_linen
from jaxdl.config._tree import as_data, is_spec

UNKNOWN: Any = Any
"""The annotation of a value of which nothing is known."""

_SCALARS = (bool, int, float, str)
_SEQUENCES = (
    *(tuple, list, set, frozenset),
    *(collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, collections.abc.Set),
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class MismatchError(ValueError):
    """A value that does not fit; the message says what would."""


def conform(value: Any, hint: Any) -> Any:
    """The value as its annotation wants it: an int where a float is wanted becomes a float, and 3.0 becomes 3.

    What a spec makes is not known before it is made, so a spec fits everywhere; so does anything where the annotation
    says nothing about plain data. An instance of a dataclass (a Linen module is one) can only come from a spec.

    >>> conform(1, float), conform(2.0, int | None)
    (1.0, 2)

    Raises:
      MismatchError: it does not fit.
    """
    hint = _bare(hint)
    origin = typing.get_origin(hint) or hint
    if is_spec(value) or hint is UNKNOWN:
        return value
    if origin is typing.Union or origin is types.UnionType:
        return _union(value, hint)
    if origin is typing.Literal:
        return _choice(value, typing.get_args(hint), hint)
    if hint in _SCALARS:
        return _scalar(value, hint)
    if origin in _SEQUENCES:
        return _sequence(value, hint)
    if origin in _MAPPINGS:
        return _mapping(value, hint)
    if origin is collections.abc.Callable or origin is type:
        if not is_reference(value):
            raise mismatch(value, hint)
        return value
    wants_made = _is_made(hint) and not is_reference(value)
    if wants_made or (hint is type(None) and value is not None):
        raise mismatch(value, hint)
    return value


def exact(value: Any, hint: Any) -> None:
    """Like `conform` for a value that will not be changed: an int is a float too, but 3.0 is no int.

    Raises:
      MismatchError: it does not fit.
    """
    if _became_int(value, conform(value, hint)):
        raise mismatch(value, hint)


def item_hint(hint: Any, index: int | None) -> Any:
    """The annotation of an item of a tuple (at an index) or of a mapping (None), as far as it is known."""
    hint = _bare(hint)
    for option in _options(hint):
        arguments, origin = typing.get_args(option), typing.get_origin(option)
        if index is None and origin in _MAPPINGS:
            return arguments[1]
        if index is not None and origin in _SEQUENCES:
            return _at(origin, arguments, index)
    return UNKNOWN


def is_text(hint: Any) -> bool:
    """Whether the annotation takes strings and no other value but None."""
    return {option for option in _options(_bare(hint)) if option is not type(None)} == {str}


def outside(hint: Any) -> Any:
    """The annotation without what it says of items."""
    options = [_origin(option) for option in _options(_bare(hint))]
    return typing.Union[tuple(options)] if len(options) > 1 else options[0]  # noqa: UP007


def _origin(option: Any) -> Any:
    origin = typing.get_origin(option)
    return option if origin is None or origin is typing.Literal else origin


def takes_none(hint: Any) -> bool:
    """Whether the annotation says that None fits."""
    return type(None) in _options(_bare(hint))


def names_class(hint: Any) -> bool:
    """Whether the annotation only takes instances of certain classes, and so rules out instances of others."""
    options = _options(_bare(hint))
    return all(isinstance(o, type) and typing.get_origin(o) is None and o is not object for o in options) and not any(
        getattr(o, "_is_protocol", False) or o.__module__ in ("collections.abc", "typing") for o in options
    )


def classes(hint: Any) -> tuple[type, ...]:
    """The classes that `names_class` found."""
    return tuple(_options(_bare(hint)))


def takes_text(hint: Any) -> bool:
    """Whether the annotation says that a string fits."""
    return any(option is str or typing.get_origin(option) is typing.Literal for option in _options(_bare(hint)))


def takes_data(hint: Any) -> bool:
    """Whether the annotation speaks of plain data other than None."""
    return any(
        _speaks_of_data(option) and option is not type(None) and not _is_made(option)
        for option in _options(_bare(hint))
    )


def describe(hint: Any) -> str:
    """An annotation in words.

    >>> describe(int | None), describe(typing.Literal["a", "b"])
    ('int or None', "'a' or 'b'")
    """
    hint = _bare(hint)
    if hint is type(None):
        return "None"
    options = _options(hint)
    if len(options) > 1:
        return " or ".join(describe(option) for option in options)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) is collections.abc.Callable:
        return "a function (@module:name)"
    if typing.get_origin(hint) is None and isinstance(hint, type):
        return hint.__name__
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def mismatch(value: Any, hint: Any) -> MismatchError:
    """The error that a value does not fit an annotation."""
    return MismatchError(f"wants {describe(hint)}, not {kind(value)}")


def kind(value: Any) -> str:
    """A value with its type, cut where long."""
    value = as_data(value) if isinstance(value, config_dict.ConfigDict) else value
    shown = render(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return shown if value is None else f"{shown} ({type(value).__name__})"


def _bare(hint: Any) -> Any:
    """An annotation without its wrappers."""
    while True:
        if typing.get_origin(hint) in (typing.Annotated, typing.Required, typing.NotRequired, typing.Final):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif hint is typing.Callable:
            return Callable[..., Any]
        else:
            return hint


def _options(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for argument in typing.get_args(hint) for option in _options(_bare(argument))]
    return [hint]


def _union(value: Any, hint: Any) -> Any:
    options = _options(hint)
    if UNKNOWN in options or object in options or any(isinstance(option, typing.TypeVar) for option in options):
        return value
    if type(value) in options:
        return value
    # A class that is not plain data says nothing about plain data, but a plain class beside it does.
    known = [option for option in options if _speaks_of_data(option)]
    if not isinstance(value, (bool, int, float, str)) or not any(_speaks_of_scalars(option) for option in options):
        known = options
    for option in known:
        try:
            return conform(value, option)
        except MismatchError:
            continue
    choices = [
        choice for option in options if typing.get_origin(option) is typing.Literal for choice in option.__args__
    ]
    raise MismatchError(f"wants {describe(hint)}, not {kind(value)}{_near(value, choices)}")


def _is_made(hint: Any) -> bool:
    """Whether the annotation is a class whose instances no plain value can stand for."""
    return dataclasses.is_dataclass(hint) or is_linen(hint)


def _speaks_of_scalars(option: Any) -> bool:
    return option in _SCALARS or typing.get_origin(option) is typing.Literal


def _speaks_of_data(option: Any) -> bool:
    origin = typing.get_origin(option) or option
    known = (*_SCALARS, *_SEQUENCES, *_MAPPINGS, type(None), typing.Literal, collections.abc.Callable, type)
    return origin in known or _is_made(origin)


def _scalar(value: Any, hint: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if type(value) is not hint:
            raise mismatch(value, hint)
        return value
    if hint is float and (isinstance(value, float) or abs(value) < 2**1023):
        return float(value)
    if hint is int and (isinstance(value, int) or value.is_integer()):
        return int(value)
    raise mismatch(value, hint)


def _choice(value: Any, choices: tuple[Any, ...], hint: Any) -> Any:
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return value
    raise MismatchError(f"wants {describe(hint)}, not {kind(value)}{_near(value, choices)}")


def _near(value: Any, choices: collections.abc.Iterable[Any]) -> str:
    words = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"; did you mean {words[0]!r}?" if words else ""


def _sequence(value: Any, hint: Any) -> Any:
    if not isinstance(value, tuple):
        raise mismatch(value, hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise MismatchError(f"wants {len(arguments)} items ({describe(hint)}), not {kind(value)}")
    items = [_item(item, _at(origin, arguments, index), f"item {index}") for index, item in enumerate(value)]
    return tuple(items)


def _mapping(value: Any, hint: Any) -> Any:
    if not isinstance(value, (config_dict.ConfigDict, Mapping)):
        raise mismatch(value, hint)
    arguments = typing.get_args(hint)
    if arguments:
        for key, item in value.items():
            _item(item, arguments[1], f"item {key!r}")
    return value


def _item(value: Any, hint: Any, where: str) -> Any:
    try:
        return conform(value, hint)
    except MismatchError as error:
        raise MismatchError(f"{where} {error}") from error


def _at(origin: Any, arguments: tuple[Any, ...], index: int) -> Any:
    if not arguments:
        return UNKNOWN
    if origin is tuple and arguments[-1] is not Ellipsis:
        return arguments[index] if index < len(arguments) else UNKNOWN
    return arguments[0]


def _became_int(value: Any, conformed: Any) -> bool:
    if isinstance(value, tuple) and isinstance(conformed, tuple):
        return any(map(_became_int, value, conformed))
    return isinstance(value, float) and isinstance(conformed, int)
