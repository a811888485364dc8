"""Running statistics of frozen layers."""

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn

from jaxdl import trees
from jaxdl.types import PyTree

Path = tuple[str, ...]


def frozen_layers(params: PyTree, model_state: PyTree, frozen: Sequence[str]) -> frozenset[Path]:
    """The layers that keep statistics, and whose parameters are all frozen.

    A layer without parameters of its own, such as a normalization without scale, goes with the module around it.

    Args:
      params: Nested dicts.
      model_state: Nested dicts by collection, such as `{"batch_stats": {"norm": {"mean": ...}}}`.
      frozen: Regexes over parameter names.
    """
    if not frozen:
        return frozenset()
    held = {name: any(re.fullmatch(pattern, name) for pattern in frozen) for name in trees.names(params)}
    layers = {tuple(name.split("/")[1:-1]) for name in trees.names(model_state)}
    return frozenset(layer for layer in layers if _is_frozen(layer, held))


def _is_frozen(layer: Path, held: dict[str, bool]) -> bool:
    for length in range(len(layer), -1, -1):
        prefix = "".join(f"{part}/" for part in layer[:length])
        inside = [is_held for name, is_held in held.items() if name.startswith(prefix)]
        if inside:
            return all(inside)
    return False


@contextlib.contextmanager
def evaluating(layers: frozenset[Path]) -> Any:
    """Within it, these layers are called as in evaluation: `train=False`, `use_running_average=True`."""

    def switch(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path in layers:
            for word, value in (("train", False), ("use_running_average", True)):
                if word in kwargs:
                    kwargs = {**kwargs, word: value}
        return call(*args, **kwargs)

    with nn.intercept_methods(switch) if layers else contextlib.nullcontext():
        yield


def keep(new: PyTree, old: PyTree, layers: frozenset[Path]) -> PyTree:
    """The new model state, but the old one of these layers."""
    return trees.map_named(lambda name, n, o: o if tuple(name.split("/")[1:-1]) in layers else n, new, old)
