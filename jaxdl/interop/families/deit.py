"""DeiT of Hugging Face with its distillation token; without one it is published as a ViT."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import dense
from jaxdl.interop.families.vit import encoder_rules, num_classes, sizes
from jaxdl.interop.layout import SQUEEZE, Ignored, Layout, Prefix, Rule
from jaxdl.models.vit import ViT


def layout() -> Layout:
    """The layout of a `ViT` with `distilled`; without heads in the file, ours stay initialised."""
    reason = "a layer that classification does not use"
    return (
        Prefix(("deit.", "")),
        *encoder_rules(),
        Rule("distillation_token", "{prefix}embeddings.distillation_token", SQUEEZE(0, 1)),
        *dense("head", "cls_classifier", optional=True),
        *dense("distillation_head", "distillation_classifier", optional=True),
        *(Ignored(f"{{prefix}}pooler.dense.{name}", reason) for name in ("weight", "bias")),
    )


def model_from(config: Mapping[str, Any]) -> ViT:
    """The model of a `config.json`: with its two heads where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    classes = num_classes(config, "DeiTForImageClassificationWithTeacher", "DeiTModel")
    return ViT(num_classes=classes, distilled=True, **sizes(config))
