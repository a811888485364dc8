"""Llama and Mistral of Hugging Face, and the models that keep their form, such as SmolLM2."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.families.parts import activation, dense, embedding, norm, option, output, refuse_unless
from jaxdl.interop.layout import Ignored, Layout, Prefix
from jaxdl.models.llama import Llama


def layout(*, tie_embeddings: bool = False) -> Layout:
    """The layout of a `Llama`, with the field of that name."""
    ours, theirs = "layers/block_{i}", "{prefix}layers.{i}"
    return (
        Prefix(("model.", "")),
        *embedding("token_embedding", "{prefix}embed_tokens"),
        *norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=False),
        *(
            rule
            for mine, other in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "o_proj"))
            for rule in dense(f"{ours}/attention/{mine}", f"{theirs}.self_attn.{other}")
        ),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.post_attention_layernorm", bias=False),
        *(
            rule
            for name in ("gate", "up", "down")
            for rule in dense(f"{ours}/feedforward/{name}", f"{theirs}.mlp.{name}_proj")
        ),
        *norm("final_norm", "{prefix}norm", bias=False),
        *output("{prefix}embed_tokens.weight", tie_embeddings),
        Ignored(f"{theirs}.self_attn.rotary_emb.inv_freq", "a constant: the rotary frequencies"),
    )


def model_from(config: Mapping[str, Any]) -> Llama:
    """The model of a `config.json` of the type "llama" or "mistral".

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    mistral = option(config, "model_type", "llama") == "mistral"
    names = option(config, "architectures", ("LlamaForCausalLM",))
    known = tuple(f"{family}{kind}" for family in ("Llama", "Mistral") for kind in ("ForCausalLM", "Model"))
    refuse_unless({"architectures": names[0]}, {"architectures": known})
    refuse_unless(config, {"pretraining_tp": (1, None), "layer_types": (None,)})
    heads = option(config, "num_attention_heads", 32)
    # Mistral's window has a default that null in a file turns off.
    window = config["sliding_window"] if "sliding_window" in config else 4096
    return Llama(
        vocab_size=option(config, "vocab_size", 32_000),
        features=option(config, "hidden_size", 4096),
        num_layers=option(config, "num_hidden_layers", 32),
        num_heads=heads,
        num_kv_heads=option(config, "num_key_value_heads", 8 if mistral else heads),
        head_dim=option(config, "head_dim", None),
        hidden=option(config, "intermediate_size", 14_336 if mistral else 11_008),
        activation=activation(config, default="silu"),
        window=window if mistral else None,
        tie_embeddings=option(config, "tie_word_embeddings", False),
        attention_bias=option(config, "attention_bias", False),
        feedforward_bias=option(config, "mlp_bias", False),
        norm_epsilon=option(config, "rms_norm_eps", 1e-6),
        attention_dropout_rate=float(option(config, "attention_dropout", 0.0)),
        **_rotary(config),
    )


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary arguments, of configs from before and since `rope_parameters` holds them all."""
    scaling = option(config, "rope_parameters", option(config, "rope_scaling", {}))
    kind = option(scaling, "rope_type", option(scaling, "type", "default"))
    refuse_unless({"rope_type": kind}, {"rope_type": ("default", "linear", "llama3")})
    refuse_unless(scaling, {"partial_rotary_factor": (1.0,)})
    base = float(option(scaling, "rope_theta", option(config, "rope_theta", 10_000.0)))
    if kind == "default":
        return {"rope_base": base}
    if "factor" not in scaling:
        raise ConfigError(f"The rope_type {kind!r} of this config needs a factor, which it lacks.")
    arguments = {"rope_base": base, "rope_factor": float(scaling["factor"])}
    if kind == "linear":
        return arguments
    return arguments | {
        "rope_original_length": option(scaling, "original_max_position_embeddings", 8192),
        "rope_low_frequency": float(option(scaling, "low_freq_factor", 1.0)),
        "rope_high_frequency": float(option(scaling, "high_freq_factor", 4.0)),
    }
