"""BERT of Hugging Face, and the encoders distilled from it that keep its form, such as MiniLM."""

from collections.abc import Mapping
from typing import Any, Literal

from jaxdl.interop.families.parts import activation, dense, embedding, norm, option, refuse_unless
from jaxdl.interop.layout import Ignored, Layout, Prefix, Rule, Tied
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import MaskedLanguageModel, SentenceEncoder, SpanExtractor, TextClassifier

Head = Literal["none", "sentence", "classifier", "span", "masked"]

LEGACY_NAMES = ((r"(.*LayerNorm)\.gamma", r"\1.weight"), (r"(.*LayerNorm)\.beta", r"\1.bias"))
"""For `Choices.map`: files converted from TensorFlow, bert-base-uncased among them, name normalizations so."""

HEADS: dict[str, Head] = {
    "BertModel": "none",
    "BertForPreTraining": "none",
    "BertForSequenceClassification": "classifier",
    "BertForQuestionAnswering": "span",
    "BertForMaskedLM": "masked",
}


def layout(*, head: Head = "none") -> Layout:
    """The layout of a `Bert`, or of one inside a model with this head.

    Args:
      head: "none" for the bare encoder; else the encoder is under `encoder/`, as in a `SentenceEncoder`,
        `TextClassifier`, `SpanExtractor` or `MaskedLanguageModel`. What a file lacks of a head stays initialised, and
        the heads of other tasks are left out.
    """
    inside = "" if head == "none" else "encoder/"
    return (
        Prefix(("", "bert.") if head in ("none", "sentence") else ("bert.", "")),
        *encoder_rules(inside),
        *dense(f"{inside}pooler", "{prefix}pooler.dense", optional=True),
        *(dense("head", "classifier", optional=True) if head == "classifier" else ()),
        *(dense("head", "qa_outputs", optional=True) if head == "span" else ()),
        *(_masked() if head == "masked" else ()),
        Ignored("cls.seq_relationship.weight", "the next-sentence head"),
        Ignored("cls.seq_relationship.bias", "the next-sentence head"),
        *other_heads(
            {
                "classifier": ("classifier.weight", "classifier.bias"),
                "span": ("qa_outputs.weight", "qa_outputs.bias"),
                "masked": (
                    *("cls.predictions.bias", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"),
                    *(f"cls.predictions.transform.{part}.{name}" for part in ("dense", "LayerNorm") for name in _BOTH),
                ),
            },
            head,
        ),
    )


def model_from(config: Mapping[str, Any], *, head: Head | None = None) -> Any:
    """The model of a `config.json`.

    Args:
      config: Theirs.
      head: What is on the encoder; None for what `architectures` says, and the bare encoder where it says nothing.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    refuse_decoders(config)
    head = head_of(config, HEADS) if head is None else head
    encoder = Bert(
        vocab_size=option(config, "vocab_size", 30_522),
        max_length=option(config, "max_position_embeddings", 512),
        num_types=option(config, "type_vocab_size", 2),
        norm_epsilon=option(config, "layer_norm_eps", 1e-12),
        pooler=head in ("none", "classifier"),
        **sizes(config),
    )
    return with_head(encoder, head, config, pooling="pooled", transform=False, masked_activation=encoder.activation)


def encoder_rules(inside: str = "") -> tuple[Rule | Ignored, ...]:
    """The embeddings and layers, which RoBERTa has too."""
    ours, theirs = f"{inside}layers/block_{{i}}", "{prefix}encoder.layer.{i}"
    return (
        *embedding(f"{inside}token_embedding", "{prefix}embeddings.word_embeddings"),
        *embedding(f"{inside}position_embedding", "{prefix}embeddings.position_embeddings"),
        *embedding(f"{inside}type_embedding", "{prefix}embeddings.token_type_embeddings"),
        *norm(f"{inside}embedding_norm", "{prefix}embeddings.LayerNorm"),
        Ignored("{prefix}embeddings.position_ids", "a constant: 0, 1, 2, ..."),
        *dense(f"{ours}/attention/query", f"{theirs}.attention.self.query"),
        *dense(f"{ours}/attention/key", f"{theirs}.attention.self.key"),
        *dense(f"{ours}/attention/value", f"{theirs}.attention.self.value"),
        *dense(f"{ours}/attention/out", f"{theirs}.attention.output.dense"),
        *norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm"),
        *dense(f"{ours}/feedforward/up", f"{theirs}.intermediate.dense"),
        *dense(f"{ours}/feedforward/down", f"{theirs}.output.dense"),
        *norm(f"{ours}/feedforward_norm", f"{theirs}.output.LayerNorm"),
    )


def other_heads(names: Mapping[str, tuple[str, ...]], head: Head) -> tuple[Ignored, ...]:
    """The heads of other tasks that a file may hold, with their names; a name of this head too is not among them."""
    mine = names[head] if head in names else ()
    others = dict.fromkeys(name for task, all_names in names.items() if task != head for name in all_names)
    return tuple(Ignored(name, "the head of another task") for name in others if name not in mine)


def refuse_decoders(config: Mapping[str, Any]) -> None:
    """Checks that the config is that of an encoder whose positions are learned."""
    wanted = {"position_embedding_type": ("absolute", None), "is_decoder": (False,), "add_cross_attention": (False,)}
    refuse_unless(config, wanted)


def head_of(config: Mapping[str, Any], heads: Mapping[str, Head]) -> Head:
    """The head that the first of `architectures` says."""
    names = option(config, "architectures", ())
    refuse_unless({"architectures": names[0] if names else None}, {"architectures": (None, *heads)})
    return heads[names[0]] if names else "none"


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Bert` that BERT and RoBERTa name alike."""
    return {
        "features": option(config, "hidden_size", 768),
        "num_layers": option(config, "num_hidden_layers", 12),
        "num_heads": option(config, "num_attention_heads", 12),
        "hidden": option(config, "intermediate_size", 3072),
        "activation": activation(config),
        "dropout_rate": float(option(config, "hidden_dropout_prob", 0.1)),
        "attention_dropout_rate": float(option(config, "attention_probs_dropout_prob", 0.1)),
    }


def with_head(
    encoder: Bert,
    head: Head,
    config: Mapping[str, Any],
    *,
    pooling: Literal["first", "pooled"],
    transform: bool,
    masked_activation: str,
) -> Any:
    """The encoder in the model of a task."""
    match head:
        case "none":
            return encoder
        case "classifier":
            labels = option(config, "id2label", {})
            return TextClassifier(
                encoder=encoder,
                num_classes=len(labels) or option(config, "num_labels", 2),
                pooling=pooling,
                transform=transform,
                dropout_rate=float(option(config, "classifier_dropout", encoder.dropout_rate)),
            )
        case "span":
            return SpanExtractor(encoder=encoder)
        case "masked":
            return MaskedLanguageModel(encoder=encoder, activation=masked_activation, norm_epsilon=encoder.norm_epsilon)
        case "sentence":
            return SentenceEncoder(encoder=encoder)


_BOTH = ("weight", "bias")


def _masked() -> tuple[Rule | Tied, ...]:
    return (
        *dense("transform", "cls.predictions.transform.dense", optional=True),
        *norm("transform_norm", "cls.predictions.transform.LayerNorm", optional=True),
        Rule("output_bias", "cls.predictions.bias", optional=True),
        Tied("cls.predictions.decoder.weight", "{prefix}embeddings.word_embeddings.weight"),
        Tied("cls.predictions.decoder.bias", "cls.predictions.bias"),
    )
