"""What a callable takes: the keywords a config may set, and their annotations."""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from jaxdl.config._names import name_of
from jaxdl.errors import ConfigError


class Signature(NamedTuple):
    """The keywords of a callable. `is_open` says that it takes any others too."""

    defaults: Mapping[str, Any]
    required: frozenset[str]
    is_open: bool

    @property
    def names(self) -> list[str]:
        """All keywords, those without a default first."""
        return [*sorted(self.required), *self.defaults]

    def takes(self, name: str) -> bool:
        """Whether the callable takes this keyword."""
        return self.is_open or name in self.required or name in self.defaults


def signature(fn: Callable[..., Any]) -> Signature:
    """The keywords of a function, class or Linen module (without the `parent` and `name` that Linen adds).

    Raises:
      ConfigError: the callable cannot be called by keywords alone, or takes an argument named `call`.
    """
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{fn!r} cannot be written to a config: {error}.") from error
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if by_position:
        raise ConfigError(
            f"{name_of(fn)} takes {', '.join(by_position)} by position only, and a config gives keywords."
        )
    hidden = ("parent", "name") if is_linen(fn) else ()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in hidden]
    if any(p.name == "call" for p in named):
        raise ConfigError(
            f"{name_of(fn)} takes an argument named 'call', which a config uses for the name of the callable."
        )
    factories = _factories(fn)
    return Signature(
        defaults={
            p.name: factories[p.name]() if p.name in factories else p.default for p in named if p.default is not p.empty
        },
        required=frozenset(p.name for p in named if p.default is p.empty),
        is_open=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def annotations(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The resolved annotation of each keyword; none for one that cannot be resolved."""
    target = fn
    if isinstance(fn, type) and not hasattr(fn, "__dataclass_fields__") and not issubclass(fn, tuple):
        target = fn.__init__
    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        owners = reversed(target.__mro__) if isinstance(target, type) else (target,)
        return {name: hint for owner in owners for name, hint in _resolvable(owner)}


def _resolvable(owner: Any) -> Iterator[tuple[str, Any]]:
    """The annotations that can be resolved, each on its own: one may name what only a type checker imports."""
    namespace = vars(sys.modules[owner.__module__]) if getattr(owner, "__module__", None) in sys.modules else {}
    for name, hint in getattr(owner, "__annotations__", {}).items():
        try:
            yield from typing.get_type_hints(SimpleNamespace(__annotations__={name: hint}), namespace).items()
        except (NameError, TypeError, AttributeError):
            continue


def _factories(fn: Callable[..., Any]) -> Mapping[str, Callable[[], Any]]:
    """What makes the defaults of a dataclass that are made anew each time."""
    if not isinstance(fn, type) or not dataclasses.is_dataclass(fn):
        return {}
    made = {field.name: field.default_factory for field in dataclasses.fields(fn)}
    return {name: factory for name, factory in made.items() if factory is not dataclasses.MISSING}


def is_linen(fn: Any) -> bool:
    """Whether this is a class of Linen modules."""
    # Recognised by name: a config neither needs nor imports flax.
    return isinstance(fn, type) and any(
        (c.__module__, c.__name__) == ("flax.linen.module", "Module") for c in fn.__mro__
    )
