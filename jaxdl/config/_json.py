"""A config as canonical JSON, and back."""

import json
from typing import Any

from ml_collections import ConfigDict

from jaxdl.config import _tree
from jaxdl.config._show import flatten
from jaxdl.errors import ConfigError

VERSION = 1
MAX_BYTES = 16 * 2**20


def to_json(config: ConfigDict) -> str:
    """Writes a config and the origins of its values as data, keys sorted.

    Tuples become arrays and references their values, so a reloaded config no longer links them. Floats come back to
    the last bit.

    Raises:
      ConfigError: a number is not finite.
    """
    data = _tree.as_data(_tree.copy_tree(config))
    origins = {leaf.key: leaf.origin for leaf in flatten(config) if leaf.origin}
    for leaf in flatten(config):
        if not _all_finite(leaf.value):
            raise ConfigError(f"{leaf.key}: {leaf.value!r} is not finite, which JSON cannot hold. ({leaf.origin})")
    document = {"version": VERSION, "config": data, "origins": origins}
    return json.dumps(document, sort_keys=True, indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> ConfigDict:
    """Reads what `to_json` wrote, as data: nothing is imported. Give `allow` to `check` and `build` for such a config.

    Raises:
      ConfigError: the text is not such a document, or of a version that this one cannot read.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"The config has {len(text)} characters; the limit is {MAX_BYTES}.")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as error:
        raise ConfigError("The config is nested too deeply.") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"The config is not JSON: {error}.") from error
    if not isinstance(document, dict) or "version" not in document:
        raise ConfigError("The text is not a saved config: it has no version.")
    if document["version"] != VERSION or isinstance(document["version"], bool):
        raise ConfigError(
            f"The config was saved in version {document['version']!r} of the format, and this jaxdl reads version "
            f"{VERSION}; read it with the jaxdl that wrote it."
        )
    if document.keys() != {"version", "config", "origins"} or not isinstance(document["config"], dict):
        raise ConfigError("The text is not a saved config: it must hold version, config and origins.")
    return _restored(document["config"], document["origins"])


def _restored(data: dict[str, Any], origins: Any) -> ConfigDict:
    tree = _tree.copy_tree(data)
    for leaf in flatten(tree):
        if not _all_finite(leaf.value):
            raise ConfigError(f"{leaf.key}: a number is not finite.")
        if leaf.key.rpartition(".")[2] == _tree.CALL and not isinstance(leaf.value, str):
            raise ConfigError(f"{leaf.key}: the name of a callable must be a string, not {leaf.value!r}.")
    if not isinstance(origins, dict):
        raise ConfigError("The text is not a saved config: its origins are not an object.")
    for key, origin in origins.items():
        if not isinstance(origin, str) or not origin.isprintable():
            raise ConfigError(f"The origin of {key!r} is not a line of text.")
        _tree.mark_at(tree, key, origin)
    return tree


def _all_finite(value: Any) -> bool:
    return all(map(_all_finite, value)) if isinstance(value, tuple) else _tree.is_finite(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        twice = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise ConfigError(f"The key {twice!r} stands twice in the config.")
    return items


def _refuse(constant: str) -> Any:
    raise ConfigError(f"The config holds {constant}, which is not a finite number.")
