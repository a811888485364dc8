"""T5 of Hugging Face, version 1.1 and its kin too."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, dense, embedding, norm, option, output, refuse_unless
from jaxdl.interop.layout import Layout, Rule, Tied
from jaxdl.models.t5 import T5


def layout(*, tie_embeddings: bool = True, gated: bool = False) -> Layout:
    """The layout of a `T5`, with the fields of these names."""
    return (
        *embedding("token_embedding", "shared"),
        *_side("encoder", ("attention", "feedforward"), gated),
        *_side("decoder", ("attention", "cross_attention", "feedforward"), gated),
        *(Tied(f"{name}.weight", "shared.weight") for name in ("encoder.embed_tokens", "decoder.embed_tokens")),
        *output("shared.weight", tie_embeddings),
    )


def model_from(config: Mapping[str, Any]) -> T5:
    """The model of a `config.json`.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    names = option(config, "architectures", ("T5ForConditionalGeneration",))
    known = ("T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model")
    refuse_unless({"architectures": names[0]}, {"architectures": known})
    refuse_unless(config, {"is_encoder_decoder": (True,), "is_decoder": (False,)})
    form = option(config, "feed_forward_proj", "relu")
    gated, kind = form.startswith("gated-"), form.removeprefix("gated-")
    # Their code takes the tanh form for this name, though "gelu" is the exact one elsewhere.
    kind = "gelu_new" if form == "gated-gelu" else kind
    # Since version 5 their files say "tied" of every model, and of one trained untied also that it is not scaled.
    scaled = option(config, "scale_decoder_outputs", option(config, "tie_word_embeddings", True))
    return T5(
        vocab_size=option(config, "vocab_size", 32_128),
        features=option(config, "d_model", 512),
        num_layers=option(config, "num_layers", 6),
        num_decoder_layers=option(config, "num_decoder_layers", None),
        num_heads=option(config, "num_heads", 8),
        head_dim=option(config, "d_kv", 64),
        hidden=option(config, "d_ff", 2048),
        activation=activation({"feed_forward_proj": kind}, "feed_forward_proj"),
        gated=gated,
        num_buckets=option(config, "relative_attention_num_buckets", 32),
        max_distance=option(config, "relative_attention_max_distance", 128),
        tie_embeddings=option(config, "tie_word_embeddings", True) and scaled,
        scale_logits=scaled,
        norm_epsilon=option(config, "layer_norm_epsilon", 1e-6),
        dropout_rate=float(option(config, "dropout_rate", 0.1)),
    )


def _side(side: str, parts: tuple[str, ...], gated: bool) -> tuple[Rule, ...]:
    ours, theirs = f"{side}/layers/block_{{i}}", f"{side}.block.{{i}}"
    table = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    rules = [Rule(f"{side}/position_bias/embedding", table)]
    for index, part in enumerate(parts):
        inside = f"{theirs}.layer.{index}"
        rules += norm(f"{ours}/{part}_norm", f"{inside}.layer_norm", bias=False)
        for mine, other in _names(part, gated):
            rules += dense(f"{ours}/{part}/{mine}", f"{inside}.{other}", bias=False)
    return (*rules, *norm(f"{side}/final_norm", f"{side}.final_layer_norm", bias=False))


def _names(part: str, gated: bool) -> tuple[tuple[str, str], ...]:
    if part == "feedforward":
        inner = (("gate", "wi_0"), ("up", "wi_1")) if gated else (("up", "wi"),)
        return tuple((mine, f"DenseReluDense.{other}") for mine, other in (*inner, ("down", "wo")))
    name = {"attention": "SelfAttention", "cross_attention": "EncDecAttention"}[part]
    return tuple((mine, f"{name}.{mine[0]}") for mine in ("query", "key", "value", "out"))
