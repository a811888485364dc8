"""ViT of Hugging Face, and the DeiT without distillation that is published in its form."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, dense, norm, option, refuse_unless
from jaxdl.interop.layout import CONV2D, SQUEEZE, Ignored, Layout, Prefix, Rule
from jaxdl.models.vit import ViT


def layout() -> Layout:
    """The layout of a `ViT`; without a head in the file, ours stays initialised."""
    return (Prefix(("vit.", "")), *encoder_rules(), *dense("head", "classifier", optional=True), *_pooler())


def model_from(config: Mapping[str, Any]) -> ViT:
    """The model of a `config.json`: with a head where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    classes = num_classes(config, "ViTForImageClassification", "ViTModel")
    return ViT(num_classes=classes, **sizes(config))


def encoder_rules() -> tuple[Rule | Ignored, ...]:
    """The embeddings and layers, which DeiT has too."""
    ours, theirs = "layers/block_{i}", "{prefix}encoder.layer.{i}"
    return (
        Rule("patch_embedding/kernel", "{prefix}embeddings.patch_embeddings.projection.weight", CONV2D),
        Rule("patch_embedding/bias", "{prefix}embeddings.patch_embeddings.projection.bias"),
        Rule("class_token", "{prefix}embeddings.cls_token", SQUEEZE(0, 1)),
        Rule("position_embedding", "{prefix}embeddings.position_embeddings", SQUEEZE(0)),
        Ignored("{prefix}embeddings.mask_token", "only pretraining by masked patches uses it"),
        *norm(f"{ours}/attention_norm", f"{theirs}.layernorm_before"),
        *dense(f"{ours}/attention/query", f"{theirs}.attention.attention.query"),
        *dense(f"{ours}/attention/key", f"{theirs}.attention.attention.key"),
        *dense(f"{ours}/attention/value", f"{theirs}.attention.attention.value"),
        *dense(f"{ours}/attention/out", f"{theirs}.attention.output.dense"),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.layernorm_after"),
        *dense(f"{ours}/feedforward/up", f"{theirs}.intermediate.dense"),
        *dense(f"{ours}/feedforward/down", f"{theirs}.output.dense"),
        *norm("final_norm", "{prefix}layernorm"),
    )


def num_classes(config: Mapping[str, Any], classifier: str, bare: str) -> int | None:
    """The number of classes of the architecture that a config names, None for the bare model."""
    names = option(config, "architectures", (bare,))
    refuse_unless({"architectures": names[0]}, {"architectures": (classifier, bare)})
    return None if names[0] == bare else len(option(config, "id2label", {})) or option(config, "num_labels", 2)


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `ViT` that their config says; the image's size is the input's own."""
    return {
        "patch_size": option(config, "patch_size", 16),
        "features": option(config, "hidden_size", 768),
        "num_layers": option(config, "num_hidden_layers", 12),
        "num_heads": option(config, "num_attention_heads", 12),
        "hidden": option(config, "intermediate_size", 3072),
        "activation": activation(config),
        "qkv_bias": option(config, "qkv_bias", True),
        "norm_epsilon": option(config, "layer_norm_eps", 1e-12),
        "dropout_rate": float(option(config, "hidden_dropout_prob", 0.0)),
        "attention_dropout_rate": float(option(config, "attention_probs_dropout_prob", 0.0)),
    }


def _pooler() -> tuple[Ignored, ...]:
    reason = "a layer that classification does not use"
    return tuple(Ignored(f"{{prefix}}pooler.dense.{name}", reason) for name in ("weight", "bias"))
