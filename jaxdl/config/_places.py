"""Where a config says the same thing."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from jaxdl.config import _tree
from jaxdl.config._show import join, text_of


def places(config: ConfigDict, spec: ConfigDict) -> list[str]:
    """The dotted keys under which a config holds an equal spec.

    >>> import statistics
    >>> from jaxdl.config import spec
    >>> normal = spec(statistics.NormalDist, sigma=2.0)
    >>> tree = ConfigDict({"a": normal, "b": (1, normal), "c": spec(statistics.NormalDist)})
    >>> places(_tree.copy_tree(tree), normal)
    ['a', 'b.1']
    """
    return list(_found(config, "", text_of(spec)))


def _found(value: Any, key: str, spec: str) -> Iterator[str]:
    value = _tree.value_of(value)
    if _tree.is_spec(value) and text_of(value) == spec:
        yield key
    elif isinstance(value, (_tree.Config, tuple)):
        for name, item in _tree.children(value):
            yield from _found(item, join(key, name), spec)
