"""The families of foreign models that are known: an explicit table, each module imported when it is used."""

import dataclasses
import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Where the two functions of a family are, and what they are told.

    Attributes:
      module: With `model_from(config: Mapping) -> Module` and `layout(...) -> Layout`; the latter alone is also a
        layout for files that have no config.
      classes: The classes of our models that the family makes. The value of each, where it is not None, is the
        `head` that `layout` is told.
      fields: Fields of those models that `layout` is told by their names, because files differ by them.
    """

    module: str
    classes: Mapping[str, str | None]
    fields: tuple[str, ...] = ()

    def model_from(self, config: Mapping[str, Any]) -> Any:
        """The module of a `config.json`.

        Raises:
          ConfigError: the config has an option that is not implemented here, or is damaged.
        """
        try:
            return self._imported().model_from(config)
        except ConfigError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"The config.json describes no {self.module} model: {error!r}.") from error

    def layout(self, model: Any = None) -> Layout:
        """The layout for a module of ours; for None, or a module of another family, that of the bare model."""
        name = type(model).__name__
        if name not in self.classes:
            return self._imported().layout()
        told = {field: getattr(model, field) for field in self.fields}
        head = self.classes[name]
        return self._imported().layout(**told) if head is None else self._imported().layout(head=head, **told)

    def renamed(self, name: str) -> str:
        """The present name of a tensor that older files of the family name otherwise."""
        for pattern, replacement in getattr(self._imported(), "LEGACY_NAMES", ()):
            if found := re.fullmatch(pattern, name):
                return found.expand(replacement)
        return name

    def _imported(self) -> Any:
        return importlib.import_module(f"jaxdl.interop.families.{self.module}")


_TEXT_HEADS: Mapping[str, str | None] = MappingProxyType(
    {
        "SentenceEncoder": "sentence",
        "TextClassifier": "classifier",
        "SpanExtractor": "span",
        "MaskedLanguageModel": "masked",
    }
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": Family(module="bert", classes={"Bert": None, **_TEXT_HEADS}),
        "roberta": Family(module="roberta", classes={"Bert": None, **_TEXT_HEADS}),
        "resnet": Family(module="resnet", classes={"ResNet": None}),
        "convnext": Family(module="convnext", classes={"ConvNeXt": None}),
        "efficientnet": Family(module="efficientnet", classes={"EfficientNet": None}),
        "mobilenet_v2": Family(module="mobilenet_v2", classes={"MobileNetV2": None}),
        "vit": Family(module="vit", classes={"ViT": None}),
        "deit": Family(module="deit", classes={"ViT": None}),
        "clip": Family(module="clip", classes={"CLIP": None}),
        "gpt2": Family(module="gpt2", classes={"GPT2": None}, fields=("tie_embeddings",)),
        "llama": Family(module="llama", classes={"Llama": None}, fields=("tie_embeddings",)),
        "mistral": Family(module="llama", classes={"Llama": None}, fields=("tie_embeddings",)),
        "t5": Family(module="t5", classes={"T5": None}, fields=("tie_embeddings", "gated")),
        "whisper": Family(module="whisper", classes={"Whisper": None}),
    }
)
"""By the `model_type` of a Hugging Face `config.json`."""


def family(name: Any) -> Family:
    """The family of a `model_type`.

    Raises:
      ConfigError: it is not known.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(f"The model type {name!r} is not known here; known are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def family_of(model: Any) -> str | None:
    """The first family that makes modules of this class, by name; None where none does.

    >>> from jaxdl.models import MLP
    >>> family_of(MLP(num_classes=2, widths=(3,))) is None
    True
    """
    name = type(model).__name__
    return next((key for key, entry in FAMILIES.items() if name in entry.classes), None)
