"""CLIP of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, dense, embedding, norm, option, refuse_unless
from jaxdl.interop.layout import CONV2D, Ignored, Layout, Rule
from jaxdl.models.clip import CLIP, ClipText, clip_vit


def layout() -> Layout:
    """The layout of a `CLIP` of a `clip_vit` and a `ClipText`."""
    return (
        *embedding("text_encoder/token_embedding", "text_model.embeddings.token_embedding"),
        *embedding("text_encoder/position_embedding", "text_model.embeddings.position_embedding"),
        *_layers("text_encoder", "text_model"),
        *norm("text_encoder/final_norm", "text_model.final_layer_norm"),
        Rule("image_encoder/class_token", "vision_model.embeddings.class_embedding"),
        Rule("image_encoder/patch_embedding/kernel", "vision_model.embeddings.patch_embedding.weight", CONV2D),
        Rule("image_encoder/position_embedding", "vision_model.embeddings.position_embedding.weight"),
        *norm("image_encoder/embedding_norm", "vision_model.pre_layrnorm"),
        *_layers("image_encoder", "vision_model"),
        *norm("image_encoder/final_norm", "vision_model.post_layernorm"),
        *dense("image_projection", "visual_projection", bias=False),
        *dense("text_projection", "text_projection", bias=False),
        Rule("log_scale", "logit_scale"),
        *(Ignored(f"{tower}.embeddings.position_ids", "a constant: 0, 1, 2, ...") for tower in _TOWERS),
    )


def model_from(config: Mapping[str, Any]) -> CLIP:
    """The model of a `config.json`.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    names = option(config, "architectures", ("CLIPModel",))
    refuse_unless({"architectures": names[0]}, {"architectures": ("CLIPModel",)})
    text, image = (option(config, f"{tower}_config", {}) for tower in ("text", "vision"))
    # Configs of before the end token was looked for hold a 2 that no text has; their models take the highest id.
    end = option(text, "eos_token_id", 49_407)
    return CLIP(
        image_encoder=clip_vit(
            patch_size=option(image, "patch_size", 32),
            attention_dropout_rate=float(option(image, "attention_dropout", 0.0)),
            **_sizes(image, 768, 12),
        ),
        text_encoder=ClipText(
            vocab_size=option(text, "vocab_size", 49_408),
            max_length=option(text, "max_position_embeddings", 77),
            end_token=None if end == 2 else end,
            attention_dropout_rate=float(option(text, "attention_dropout", 0.0)),
            **_sizes(text, 512, 8),
        ),
        features=option(config, "projection_dim", 512),
    )


_TOWERS = ("text_model", "vision_model")


def _sizes(config: Mapping[str, Any], features: int, heads: int) -> dict[str, Any]:
    return {
        "features": option(config, "hidden_size", features),
        "num_layers": option(config, "num_hidden_layers", 12),
        "num_heads": option(config, "num_attention_heads", heads),
        "hidden": option(config, "intermediate_size", 4 * features),
        "activation": activation(config, default="quick_gelu"),
        "norm_epsilon": option(config, "layer_norm_eps", 1e-5),
    }


def _layers(ours: str, theirs: str) -> tuple[Rule, ...]:
    ours, theirs = f"{ours}/layers/block_{{i}}", f"{theirs}.encoder.layers.{{i}}"
    return (
        *norm(f"{ours}/attention_norm", f"{theirs}.layer_norm1"),
        *(
            rule
            for name, their_name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
            for rule in dense(f"{ours}/attention/{name}", f"{theirs}.self_attn.{their_name}")
        ),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.layer_norm2"),
        *dense(f"{ours}/feedforward/up", f"{theirs}.mlp.fc1"),
        *dense(f"{ours}/feedforward/down", f"{theirs}.mlp.fc2"),
    )
