"""Making the calls that a config describes."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdl.config import _tree
from jaxdl.config._names import is_reference, resolve, resolve_call
from jaxdl.config._show import join, origin_of, text_of
from jaxdl.errors import ConfigError, JaxdlError

Known = Sequence[tuple[Any, Any]]
_REFUSALS = (ArithmeticError, TypeError, ValueError)
# What comes of arguments that nobody chose by hand: of a saved config, no error of a library is the user's to see.
_MISTAKES = (*_REFUSALS, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError)


def build(node: Any, *, allow: Sequence[str] | None = None, known: Known = ()) -> Any:
    """Makes the call that a spec describes, innermost specs first.

    A ConfigDict that is no spec becomes a dict, a sequence a tuple, `@module:name` the object of that name.

    >>> import statistics
    >>> from jaxdl.config import spec
    >>> build(spec(statistics.NormalDist, sigma=2.0))
    NormalDist(mu=0.0, sigma=2.0)

    Args:
      node: A spec, or anything that holds specs.
      allow: None for a config that the user wrote. For a saved config, which may come from elsewhere, the packages
        whose names it may use beside the public ones of jaxdl, jax.nn, flax.linen and optax: `()` for none.
      known: Pairs of a spec and what stands for it, wherever the config has an equal one, instead of another call.

    Raises:
      ConfigError: a name cannot be found or is not allowed, or a callable refused its arguments.
    """
    made = {text_of(spec): found for spec, found in known}
    return _build(_tree.copy_tree(node), "", "", allow, made)


def _build(value: Any, key: str, origin: str, allow: Sequence[str] | None, made: Mapping[str, Any]) -> Any:
    value = _tree.value_of(value)
    if made and _tree.is_spec(value) and (text := text_of(value)) in made:
        return made[text]
    if isinstance(value, _tree.Config):
        below = [(name, item, join(key, name), origin_of(value, name, origin)) for name, item in _tree.children(value)]
        below = [one for one in below if one[0] != _tree.CALL]
        built = {name: _build(item, path, where, allow, made) for name, item, path, where in below}
        return _call(value, key, origin, built, allow) if _tree.is_spec(value) else built
    if isinstance(value, tuple):
        return tuple(_build(item, join(key, str(index)), origin, allow, made) for index, item in enumerate(value))
    if is_reference(value):
        return _resolved(value[1:], key, origin, allow)
    return value


def _call(node: _tree.Config, key: str, origin: str, kwargs: dict[str, Any], allow: Sequence[str] | None) -> Any:
    name, place = node[_tree.CALL], _at(origin_of(node, _tree.CALL, origin))
    try:
        fn = resolve_call(name, allow)
    except ConfigError as error:
        raise ConfigError(f"{key or 'config'}: {error}{place}") from error
    mistakes = _REFUSALS if allow is None else _MISTAKES
    try:
        return fn(**kwargs)
    except JaxdlError:
        raise
    except mistakes as error:
        raise ConfigError(f"{key or 'config'}: {name} refuses its arguments: {error}{place}") from error


def _resolved(name: str, key: str, origin: str, allow: Sequence[str] | None) -> Any:
    try:
        return resolve(name, allow)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}{_at(origin)}") from error


def _at(origin: str) -> str:
    return f" ({origin})" if origin else ""
