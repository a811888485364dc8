"""Whether the parts of an experiment know every token that the tokenizer makes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.train.experiment import Experiment

_NAMES = ("vocab_size", "vocabulary_size")
_NO_PARTS = ("parent", "name")


def check_vocabulary(experiment: Experiment) -> None:
    """Compares the sizes that the model and the task were given with the tokenizer's.

    Raises:
      ConfigError: one is smaller, so that ids beyond it would read nothing but NaN.
    """
    if experiment.tokenizer is None:
        return
    size = experiment.tokenizer.vocabulary_size
    for name in ("model", "task"):
        for key, known in _sizes(getattr(experiment, name), name):
            if known < size:
                raise ConfigError(
                    f"{key} is {known}, but the tokenizer has {size} tokens: set --config.{key}={size}, or train a "
                    f"tokenizer of at most {known}."
                )


def _sizes(part: Any, key: str) -> Iterator[tuple[str, int]]:
    """The sizes of vocabularies in nested dataclasses, by where they are."""
    if not dataclasses.is_dataclass(part):
        return
    for field in dataclasses.fields(part):
        value = getattr(part, field.name, None)
        if field.name in _NAMES and isinstance(value, int):
            yield f"{key}.{field.name}", value
        elif field.name not in _NO_PARTS:
            yield from _sizes(value, f"{key}.{field.name}")
