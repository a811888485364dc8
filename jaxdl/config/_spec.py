"""Writing a call down instead of making it."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from jaxdl.config import _origins, _tree
from jaxdl.config._names import is_reference, name_of, nearest
from jaxdl.config._signature import signature
from jaxdl.errors import ConfigError


def spec(fn: Callable[..., Any], /, **kwargs: Any) -> ConfigDict:
    """Writes down the call `fn(**kwargs)`, defaults included, as a locked ConfigDict.

    The values may be numbers, strings, booleans, None, tuples, dicts, functions at module level, references (`ref`)
    and other specs; an instance of a dataclass or NamedTuple becomes a spec. An argument without a default may be left
    out, and then be assigned later or given on the command line. A default that is not such a value, like a function
    made by a call, is left to the callable.

    >>> import statistics
    >>> spec(statistics.NormalDist, sigma=2.0).to_dict()
    {'call': 'statistics:NormalDist', 'mu': 0.0, 'sigma': 2.0}

    Raises:
      ConfigError: `fn` has no name at module level, does not take a keyword, or a value is not one of the above.
    """
    site = _origins.call_site(sys._getframe(1))
    try:
        return write(fn, kwargs, {name: site.of(name) for name in kwargs}, site.start)
    except ConfigError as error:
        raise ConfigError(f"{error} ({site.start})") from error


def ref(value: Any) -> config_dict.FieldReference:
    """A value to use in several places of a config, which then change together.

    Arithmetic on it gives references that follow: with `steps = ref(2000)`, both `steps` and `steps // 10` obey
    `--config.steps=500`.

    >>> steps = ref(2000)
    >>> (steps // 10).get()
    200
    """
    return config_dict.FieldReference(value)


def write(fn: Callable[..., Any], kwargs: Mapping[str, Any], origins: Mapping[str, str], start: str) -> _tree.Config:
    """The spec of `fn(**kwargs)`, with the origin of each argument and of the call itself."""
    name = name_of(fn)
    known = signature(fn)
    for word in kwargs:
        if not known.takes(word) or word == _tree.CALL:
            raise ConfigError(f"{name} has no argument {word!r}.{nearest(word, known.names)}")
    values = {word: _argument(name, word, value) for word, value in kwargs.items()}
    defaults = {word: _default(value) for word, value in known.defaults.items() if word not in kwargs}
    defaults = {word: value for word, value in defaults.items() if value is not _tree.ABSENT}
    return _tree.node(
        {_tree.CALL: name, **defaults, **values},
        {**dict.fromkeys(defaults, f"default of {name}"), **origins, _tree.CALL: start},
        frozenset(known.names) - values.keys() - defaults.keys(),
    )


def _argument(name: str, word: str, value: Any) -> Any:
    try:
        return _tree.plain(value)
    except ConfigError as error:
        raise ConfigError(f"{name}, argument {word!r}: {error}") from error


def _default(value: Any) -> Any:
    """A default as a config holds it, or `ABSENT` where the callable must supply it."""
    try:
        written = _tree.plain(value)
    except ConfigError:
        return _tree.ABSENT
    is_private = is_reference(written) and (":_" in written or "._" in written)
    return _tree.ABSENT if is_private or not _tree.is_finite(written) else written
