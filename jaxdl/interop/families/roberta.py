"""RoBERTa of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.families.bert import (
    Head,
    encoder_rules,
    head_of,
    other_heads,
    refuse_decoders,
    sizes,
    with_head,
)
from jaxdl.interop.families.parts import dense, norm, option
from jaxdl.interop.layout import Layout, Prefix, Rule, Tied
from jaxdl.models.bert import roberta

HEADS: dict[str, Head] = {
    "RobertaModel": "none",
    "RobertaForSequenceClassification": "classifier",
    "RobertaForQuestionAnswering": "span",
    "RobertaForMaskedLM": "masked",
}


def layout(*, head: Head = "none") -> Layout:
    """The layout of a `roberta`, or of one inside a model with this head, as in `jaxdl.interop.families.bert`."""
    inside = "" if head == "none" else "encoder/"
    lm_head = tuple(f"lm_head.{part}.{name}" for part in ("dense", "layer_norm", "decoder") for name in _BOTH)
    return (
        Prefix(("", "roberta.") if head in ("none", "sentence") else ("roberta.", "")),
        *encoder_rules(inside),
        *dense(f"{inside}pooler", "{prefix}pooler.dense", optional=True),
        *(_classifier() if head == "classifier" else ()),
        *(dense("head", "qa_outputs", optional=True) if head == "span" else ()),
        *(_masked() if head == "masked" else ()),
        *other_heads(
            {
                "classifier": tuple(f"classifier.{part}.{name}" for part in ("dense", "out_proj") for name in _BOTH),
                "span": ("qa_outputs.weight", "qa_outputs.bias"),
                "masked": ("lm_head.bias", *lm_head),
            },
            head,
        ),
    )


def model_from(config: Mapping[str, Any], *, head: Head | None = None) -> Any:
    """The model of a `config.json`; arguments and errors as in `jaxdl.interop.families.bert`."""
    refuse_decoders(config)
    head = head_of(config, HEADS) if head is None else head
    padding = option(config, "pad_token_id", 1)
    positions = option(config, "max_position_embeddings", 512)
    if positions <= padding + 1:
        raise ConfigError(f"max_position_embeddings={positions} leaves no position above pad_token_id={padding}.")
    encoder = roberta(
        vocab_size=option(config, "vocab_size", 50_265),
        max_length=positions - padding - 1,
        num_types=option(config, "type_vocab_size", 2),
        norm_epsilon=option(config, "layer_norm_eps", 1e-12),
        padding_token=padding,
        pooler=head == "none",
        **sizes(config),
    )
    # The head that predicts tokens has the erf form whatever the layers have.
    return with_head(encoder, head, config, pooling="first", transform=True, masked_activation="gelu_exact")


_BOTH = ("weight", "bias")


def _classifier() -> Layout:
    return (
        *dense("transform", "classifier.dense", optional=True),
        *dense("head", "classifier.out_proj", optional=True),
    )


def _masked() -> Layout:
    return (
        *dense("transform", "lm_head.dense", optional=True),
        *norm("transform_norm", "lm_head.layer_norm", optional=True),
        Rule("output_bias", "lm_head.bias", optional=True),
        Tied("lm_head.decoder.weight", "{prefix}embeddings.word_embeddings.weight"),
        Tied("lm_head.decoder.bias", "lm_head.bias"),
    )
