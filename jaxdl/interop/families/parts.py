"""What the layouts of several families are made of, and what their configs have in common."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.layout import COPY, TRANSPOSE, How, Rule, Tied

ACTIVATIONS = MappingProxyType(
    {
        "gelu": "gelu_exact",
        "gelu_fast": "gelu",
        "gelu_new": "gelu",
        "gelu_pytorch_tanh": "gelu",
        "quick_gelu": "quick_gelu",
        "relu": "relu",
        "silu": "silu",
        "swish": "silu",
        "tanh": "tanh",
    }
)
"""Our name of each activation that their configs name."""


def dense(ours: str, theirs: str, *, bias: bool = True, optional: bool = False) -> tuple[Rule, ...]:
    """A dense layer: `ours/kernel` is `theirs.weight` transposed, `ours/bias` is `theirs.bias`."""
    return _weighted(ours, theirs, "kernel", TRANSPOSE, bias, optional)


def norm(ours: str, theirs: str, *, bias: bool = True, optional: bool = False) -> tuple[Rule, ...]:
    """A normalization: `ours/scale` is `theirs.weight`, `ours/bias` is `theirs.bias`."""
    return _weighted(ours, theirs, "scale", COPY, bias, optional)


def embedding(ours: str, theirs: str, *, optional: bool = False) -> tuple[Rule, ...]:
    """A table of embeddings: `ours/embedding` is `theirs.weight`."""
    return _weighted(ours, theirs, "embedding", COPY, False, optional)


def output(embedding_weight: str, tied: bool, head: str = "lm_head") -> tuple[Rule | Tied, ...]:
    """The output of a language model: `head/kernel`, or the embeddings whose name in their file is given."""
    return (Tied(f"{head}.weight", embedding_weight),) if tied else dense("head", head, bias=False)


def activation(config: Mapping[str, Any], key: str = "hidden_act", default: str = "gelu") -> str:
    """Our name of the activation that their config names.

    >>> activation({"hidden_act": "gelu_new"})
    'gelu'

    Raises:
      ConfigError: there is no such activation here.
    """
    name = option(config, key, default)
    if name not in ACTIVATIONS:
        raise ConfigError(f"{key}={name!r} of this config is not known here; known are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def option(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """What a config of theirs says, or what its family does where the file leaves it out."""
    return config[key] if key in config and config[key] is not None else default


def refuse_unless(config: Mapping[str, Any], wanted: Mapping[str, Iterable[Any]]) -> None:
    """Checks that options of their config which change the computation have a value that is known here.

    Args:
      config: Theirs.
      wanted: The values of each option that are; an option that the config leaves out has one of them.

    Raises:
      ConfigError: an option has another value.
    """
    for key, values in wanted.items():
        values = tuple(values)
        if key in config and config[key] not in values:
            allowed = " or ".join(repr(value) for value in values)
            raise ConfigError(f"{key}={config[key]!r} of this config is not implemented here, only {allowed}.")


def _weighted(ours: str, theirs: str, weight: str, how: How, bias: bool, optional: bool) -> tuple[Rule, ...]:
    weights = (Rule(f"{ours}/{weight}", f"{theirs}.weight", how, optional),)
    return (*weights, Rule(f"{ours}/bias", f"{theirs}.bias", COPY, optional)) if bias else weights
