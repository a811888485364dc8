"""GPT-2 of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, embedding, norm, option, output, refuse_unless
from jaxdl.interop.layout import SPLIT, Ignored, Layout, Prefix, Rule
from jaxdl.models.gpt2 import GPT2


def layout(*, tie_embeddings: bool = True) -> Layout:
    """The layout of a `GPT2`, with the field of that name. Dense kernels are (in, out) there too."""
    ours, theirs = "layers/block_{i}", "{prefix}h.{i}"
    heads = tuple(f"{ours}/attention/{name}" for name in ("query", "key", "value"))
    return (
        Prefix(("transformer.", "")),
        *embedding("token_embedding", "{prefix}wte"),
        *embedding("position_embedding", "{prefix}wpe"),
        *norm(f"{ours}/attention_norm", f"{theirs}.ln_1"),
        Rule(tuple(f"{name}/kernel" for name in heads), f"{theirs}.attn.c_attn.weight", SPLIT(1, 3)),
        Rule(tuple(f"{name}/bias" for name in heads), f"{theirs}.attn.c_attn.bias", SPLIT(0, 3)),
        *_untransposed(f"{ours}/attention/out", f"{theirs}.attn.c_proj"),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.ln_2"),
        *_untransposed(f"{ours}/feedforward/up", f"{theirs}.mlp.c_fc"),
        *_untransposed(f"{ours}/feedforward/down", f"{theirs}.mlp.c_proj"),
        *norm("final_norm", "{prefix}ln_f"),
        *output("{prefix}wte.weight", tie_embeddings),
        Ignored(f"{theirs}.attn.bias", "a constant: which token sees which"),
        Ignored(f"{theirs}.attn.masked_bias", "a constant: what hides a token"),
    )


def model_from(config: Mapping[str, Any]) -> GPT2:
    """The model of a `config.json`.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    names = option(config, "architectures", ("GPT2LMHeadModel",))
    refuse_unless({"architectures": names[0]}, {"architectures": ("GPT2LMHeadModel", "GPT2Model")})
    same = {"embd_pdrop": (option(config, "resid_pdrop", 0.1),)}
    off = {"scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,)}
    refuse_unless(config, {"scale_attn_weights": (True,), **same, **off})
    return GPT2(
        vocab_size=option(config, "vocab_size", 50_257),
        max_length=option(config, "n_positions", 1024),
        features=option(config, "n_embd", 768),
        num_layers=option(config, "n_layer", 12),
        num_heads=option(config, "n_head", 12),
        hidden=option(config, "n_inner", None),
        activation=activation(config, "activation_function", "gelu_new"),
        tie_embeddings=option(config, "tie_word_embeddings", True),
        norm_epsilon=option(config, "layer_norm_epsilon", 1e-5),
        dropout_rate=float(option(config, "resid_pdrop", 0.1)),
        attention_dropout_rate=float(option(config, "attn_pdrop", 0.1)),
    )


def _untransposed(ours: str, theirs: str) -> tuple[Rule, ...]:
    return (Rule(f"{ours}/kernel", f"{theirs}.weight"), Rule(f"{ours}/bias", f"{theirs}.bias"))
