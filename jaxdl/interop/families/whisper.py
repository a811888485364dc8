"""Whisper of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, dense, embedding, norm, option, refuse_unless
from jaxdl.interop.layout import CONV1D, Layout, Prefix, Rule, Tied
from jaxdl.models.whisper import Whisper


def layout() -> Layout:
    """The layout of a `Whisper`."""
    return (
        Prefix(("model.", "")),
        *(
            rule
            for index in (0, 1)
            for rule in (
                Rule(f"encoder/conv_{index}/kernel", f"{{prefix}}encoder.conv{index + 1}.weight", CONV1D),
                Rule(f"encoder/conv_{index}/bias", f"{{prefix}}encoder.conv{index + 1}.bias"),
            )
        ),
        Rule("encoder/position_embedding", "{prefix}encoder.embed_positions.weight"),
        *embedding("decoder/token_embedding", "{prefix}decoder.embed_tokens"),
        *embedding("decoder/position_embedding", "{prefix}decoder.embed_positions"),
        *_side("encoder"),
        *_side("decoder"),
        *_attention("decoder/layers/block_{i}/cross_attention", "{prefix}decoder.layers.{i}.encoder_attn"),
        *norm("decoder/layers/block_{i}/cross_attention_norm", "{prefix}decoder.layers.{i}.encoder_attn_layer_norm"),
        Tied("proj_out.weight", "{prefix}decoder.embed_tokens.weight"),
    )


def model_from(config: Mapping[str, Any]) -> Whisper:
    """The model of a `config.json`.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    names = option(config, "architectures", ("WhisperForConditionalGeneration",))
    refuse_unless({"architectures": names[0]}, {"architectures": ("WhisperForConditionalGeneration", "WhisperModel")})
    same = {
        f"decoder_{key}": (option(config, f"encoder_{key}", default),)
        for key, default in (("attention_heads", 6), ("ffn_dim", 1536))
    }
    off = {"activation_dropout": (0.0,), "encoder_layerdrop": (0.0,), "decoder_layerdrop": (0.0,)}
    # Model classes differ in whether they mask spectra in training; none of the published configs asks for it.
    refuse_unless(config, {"scale_embedding": (False,), "apply_spec_augment": (False,), **same, **off})
    refuse_unless(config, {"tie_word_embeddings": (True,)})
    return Whisper(
        vocab_size=option(config, "vocab_size", 51_865),
        num_mels=option(config, "num_mel_bins", 80),
        max_frames=option(config, "max_source_positions", 1500),
        max_length=option(config, "max_target_positions", 448),
        features=option(config, "d_model", 384),
        num_layers=option(config, "encoder_layers", 4),
        num_decoder_layers=option(config, "decoder_layers", 4),
        num_heads=option(config, "encoder_attention_heads", 6),
        hidden=option(config, "encoder_ffn_dim", 1536),
        activation=activation(config, "activation_function"),
        dropout_rate=float(option(config, "dropout", 0.0)),
        attention_dropout_rate=float(option(config, "attention_dropout", 0.0)),
    )


def _side(side: str) -> tuple[Rule, ...]:
    ours, theirs = f"{side}/layers/block_{{i}}", f"{{prefix}}{side}.layers.{{i}}"
    return (
        *norm(f"{ours}/attention_norm", f"{theirs}.self_attn_layer_norm"),
        *_attention(f"{ours}/attention", f"{theirs}.self_attn"),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.final_layer_norm"),
        *dense(f"{ours}/feedforward/up", f"{theirs}.fc1"),
        *dense(f"{ours}/feedforward/down", f"{theirs}.fc2"),
        *norm(f"{side}/final_norm", f"{{prefix}}{side}.layer_norm"),
    )


def _attention(ours: str, theirs: str) -> tuple[Rule, ...]:
    names = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    return tuple(
        rule for mine, other in names for rule in dense(f"{ours}/{mine}", f"{theirs}.{other}", bias=mine != "key")
    )
