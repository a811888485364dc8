"""Every language model of jaxdl, made small, on the language reference that Python carries.

The argument is the name; docs/recipes.md has what each reaches. Decoders and recurrent models predict the next of
1,024 pieces of words, encoders guess hidden ones (Devlin et al. 2019), and encoder-decoders fill in spans that were
taken out (Raffel et al. 2020).

jaxdl train --config configs/language/zoo.py:llama --workdir runs/llama
jaxdl train --config configs/language/zoo.py:t5 --workdir runs/t5
"""

from jaxdl.augment import MaskTokens
from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import (
    CorruptSpans,
    MaskedRows,
    PackedRows,
    TextRows,
    fold_of,
    part_of,
    python_reference,
    tokenized,
    tokenizer_of,
)
from jaxdl.errors import ConfigError
from jaxdl.models import GPT2, T5, Bert, Llama, MaskedLanguageModel, RecurrentLanguageModel, Transformer, roberta
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import LanguageModeling, MaskedLanguageModeling, Translation
from jaxdl.train import Evaluation, Experiment, Saving

PIECES, LENGTH, SPECIAL = 1024, 64, (0, 1, 2, 3, 4, 5)
SIZE = {"features": 128, "num_heads": 4}
PLAIN = {"dropout_rate": 0.0}
NO_DROPOUT = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}

DECODERS = {
    "gpt2": (GPT2, {"max_length": LENGTH, "num_layers": 4, **SIZE, **NO_DROPOUT}),
    "llama": (Llama, {"num_layers": 4, "num_kv_heads": 2, "hidden": 344, **SIZE}),
    "mistral": (Llama, {"num_layers": 4, "num_kv_heads": 2, "hidden": 344, "window": 16, **SIZE}),
    "mixtral": (
        Llama,
        {"num_layers": 4, "num_kv_heads": 2, "hidden": 172, "num_experts": 4, "expert_capacity": 1.25, **SIZE},
    ),
    "lstm": (RecurrentLanguageModel, {"features": 256, "num_layers": 2, "tied": True}),
    "gru": (RecurrentLanguageModel, {"features": 256, "num_layers": 2, "kind": "gru", "tied": True}),
}
ENCODERS = {
    "bert": (Bert, {"max_length": LENGTH, "num_layers": 4, "hidden": 512, "pooler": False, **SIZE, **NO_DROPOUT}),
    # Its positions begin behind that of padding, whose id is 0 here.
    "roberta": (
        roberta,
        {"padding_token": 0, "max_length": LENGTH, "num_layers": 4, "hidden": 512, **SIZE, **NO_DROPOUT},
    ),
}
ENCODER_DECODERS = {
    "t5": (T5, {"num_layers": 3, "head_dim": 32, "hidden": 256, **SIZE, **PLAIN}),
    "transformer": (Transformer, {"num_layers": 3, "hidden": 256, "order": "pre", **SIZE, **PLAIN}),
    "seq2seq": (RecurrentSeq2Seq, {"embedding_dim": 128, "features": 256, **PLAIN}),
}


def get_config(arg):
    kinds = {
        **dict.fromkeys(DECODERS, decoder),
        **dict.fromkeys(ENCODERS, encoder),
        **dict.fromkeys(ENCODER_DECODERS, encoder_decoder),
    }
    if arg not in kinds:
        raise ConfigError(f"The zoo has {', '.join(kinds)}, not {arg!r}: configs/language/zoo.py:NAME.")
    return kinds[arg](arg)


def decoder(name):
    model, options = DECODERS[name]
    text, tokenizer = words(unit="file", kind="bpe")
    rows = {part: packed(text, tokenizer, part, stride=16) for part in ("train", "test")}
    return experiment(
        model=spec(model, vocab_size=PIECES, **options),
        task=spec(LanguageModeling, vocabulary_size=PIECES),
        tokenizer=tokenizer,
        rows=rows,
    )


def encoder(name):
    model, options = ENCODERS[name]
    text, tokenizer = words(unit="paragraph", kind="wordpiece")
    hidden = {"vocabulary_size": PIECES, "mask_token": build(tokenizer).special("mask"), "random_from": 6}
    rows = {
        part: spec(
            TextRows,
            records=spec(fold_of, records=text, part=part, folds=20, label_field=None),
            tokenizer=tokenizer,
            length=LENGTH,
            label_field=None,
        )
        for part in ("train", "test")
    }
    rows["test"] = spec(MaskedRows, source=rows["test"], never=SPECIAL, **hidden)
    return experiment(
        model=spec(MaskedLanguageModel, encoder=spec(model, vocab_size=PIECES, **options)),
        task=spec(MaskedLanguageModeling, vocabulary_size=PIECES),
        augment=spec(MaskTokens, never=SPECIAL, limit=LENGTH // 4, **hidden),
        tokenizer=tokenizer,
        rows=rows,
    )


def encoder_decoder(name):
    model, options = ENCODER_DECODERS[name]
    text, tokenizer = words(unit="file", kind="bpe")
    rows = {part: packed(text, tokenizer, part, stride=LENGTH) for part in ("train", "test")}
    # The ids behind the words are those of the sentinels.
    vocabulary_size = PIECES + 8
    return experiment(
        model=spec(model, vocab_size=vocabulary_size, **options),
        task=spec(Translation, vocabulary_size=vocabulary_size, label_smoothing=0.0),
        tokenizer=tokenizer,
        rows=rows,
        transforms=(spec(CorruptSpans, first_sentinel=vocabulary_size - 1),),
    )


def words(unit, kind):
    text = spec(python_reference, unit=unit)
    return text, spec(tokenizer_of, records=text, kind=kind, vocabulary_size=PIECES)


def packed(text, tokenizer, part, stride):
    stream = spec(tokenized, records=text, tokenizer=tokenizer)
    if part == "test":
        return spec(PackedRows, stream=spec(part_of, stream=stream, begin=0.95), length=LENGTH)
    return spec(PackedRows, stream=spec(part_of, stream=stream, end=0.95), length=LENGTH, stride=stride)


def experiment(*, model, task, tokenizer, rows, transforms=(), augment=None):
    steps = ref(1000)
    return spec(
        Experiment,
        steps=steps,
        model=model,
        task=task,
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.98),
            weight_decay=0.01,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=steps // 10),
            clip_norm=1.0,
        ),
        augment=augment,
        tokenizer=tokenizer,
        train=spec(Pipeline, source=rows["train"], batch_size=16, transforms=transforms),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=rows["test"], batch_size=64, transforms=transforms))
        },
        saving=spec(Saving),
    )
