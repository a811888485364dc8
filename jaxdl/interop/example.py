"""Inputs of the right shapes for a model that is known only by its class, to trace its parameters with."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdl.errors import ConfigError

_TOKENS = 8
_SIZE = 224
_BANDS = 80
_FRAMES = 3000


def example_inputs(model: Any, config: Mapping[str, Any] | None = None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of one example (1, ...) for each argument that the model's `__call__` needs, by the arguments' names.

    Args:
      model: A module; its `image_size` and the like are read where it has them.
      config: A Hugging Face `config.json`, which may say sizes that the module does not.

    Raises:
      ConfigError: an argument has a name that says nothing.
    """
    needed = [
        parameter.name
        for parameter in inspect.signature(type(model).__call__).parameters.values()
        if parameter.default is parameter.empty and parameter.name not in ("self", "train")
    ]
    said = _said(config)
    size = int(_first(model, said, "image_size", _SIZE))
    bands = int(_first(model, said, "num_mel_bins", _BANDS))
    frames = 2 * int(said["max_source_positions"]) if "max_source_positions" in said else _FRAMES
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "image": ((1, size, size, int(_first(model, said, "num_channels", 3))), np.float32),
        "tokens": ((1, _TOKENS), np.int32),
        "targets": ((1, _TOKENS), np.int32),
        "features": ((1, int(getattr(model, "num_frames", frames)), bands), np.float32),
        "lengths": ((1,), np.int32),
    }
    if unknown := [name for name in needed if name not in shapes]:
        raise ConfigError(
            f"{type(model).__name__} takes {', '.join(unknown)}, whose shape is not known: pass `inputs=` with an "
            f"example of each of {', '.join(needed)}."
        )
    return {name: jax.ShapeDtypeStruct(*shapes[name]) for name in needed}


def variables_of(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The shapes of a model's variables; nothing is computed."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), train=False, **_zeros(inputs)))


def initialised(model: Any, inputs: Mapping[str, Any], key: jax.Array) -> Any:
    """A model's variables at random."""
    return jax.jit(lambda key: model.init(key, train=False, **_zeros(inputs)))(key)


def _zeros(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: jax.numpy.zeros(x.shape, x.dtype) for name, x in inputs.items()}


def _said(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a config says, that of a vision tower inside it too."""
    config = dict(config or {})
    inside = config["vision_config"] if "vision_config" in config else {}
    return {**(inside if isinstance(inside, Mapping) else {}), **config}


def _first(model: Any, said: Mapping[str, Any], name: str, default: int) -> Any:
    value = getattr(model, name, None) or (said[name] if name in said else None) or default
    return max(value) if isinstance(value, list | tuple) else value
