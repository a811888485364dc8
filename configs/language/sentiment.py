"""What a text thinks of its subject, or any other classes of texts.

The argument is where the texts are:
- a folder with `train` and `test` in it, with a folder of `*.txt` files for each class, such as IMDb's;
- `*.csv` or `*.tsv` with the columns `text` and `label`, or `*.jsonl` with these keys, gzipped (`.gz`) or not;
- any other file: tab-separated number, mean score and text, as in the ground truth of VADER (Hutto and Gilbert 2014).
A fifth of a file is held out. After a colon comes the model: `bag` of embeddings, `lstm`, `transformer`, or an encoder
from a folder of Hugging Face or from a run of `masked_lm.py`, after another colon: `pretrained` trains all of it,
`probe` the head alone, and `scratch` the same network from random weights. A number after it trains on so few texts,
and one more chooses the fold that is held out, and the sample. With `:skip` at the end bad texts are left out.

jaxdl train --config configs/language/sentiment.py:FILE --workdir runs/bag
jaxdl train --config configs/language/sentiment.py:FILE:lstm --workdir runs/lstm
jaxdl train --config configs/language/sentiment.py:FILE:pretrained:FOLDER --workdir runs/pretrained
jaxdl train --config configs/language/sentiment.py:FILE:pretrained:RUN:500 --workdir runs/few
"""

import math
from pathlib import Path

from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import (
    TextRows,
    by_score,
    few_of,
    fold_of,
    load_tokenizer,
    read_classes,
    read_jsonl,
    read_table,
    tokenizer_of,
)
from jaxdl.errors import ConfigError
from jaxdl.interop.encoders import encoder_from
from jaxdl.models.bert import Bert
from jaxdl.models.recurrent import BagOfEmbeddings, RecurrentClassifier
from jaxdl.models.text_heads import TextClassifier
from jaxdl.optim import adam, linear, optimizer
from jaxdl.tasks import TextClassification
from jaxdl.train import Evaluation, Experiment, Saving

EPOCHS = {"bag": 20, "lstm": 6, "transformer": 8, "pretrained": 2, "probe": 2, "scratch": 2}
RATES = {"bag": 5e-3, "lstm": 2e-3, "transformer": 5e-4, "pretrained": 1e-4, "probe": 5e-3, "scratch": 2e-4}
SIZES = {"max_length": 64, "num_types": 0, "features": 128, "num_layers": 2, "num_heads": 4, "hidden": 512}
LENGTH = 40


def get_config(arg):
    on_bad, arg = "skip" if arg.endswith(":skip") else "raise", arg.removesuffix(":skip")
    path, kind, weights, few, fold = (arg.split(":") + ["bag", "", "", "0"][arg.count(":") :])[:5]
    if kind not in EPOCHS:
        raise ConfigError(f"The model must be one of {', '.join(EPOCHS)}, not {kind!r}.")
    if kind in ("pretrained", "probe", "scratch") and not weights:
        raise ConfigError(f"Say which encoder: {path}:{kind}:FOLDER, with its weights and its tokenizer.json.")
    if not fold.isdecimal() or not (few or "1").isdecimal():
        raise ConfigError(f"The number of labels and the fold must be whole numbers, not {few!r} and {fold!r}.")
    records = {part: split(path, part, int(fold), on_bad) for part in ("train", "test")}
    if few:
        records["train"] = spec(few_of, records=records["train"], count=int(few), seed=int(fold))
    examples = build(records["train"])
    if weights:
        tokenizer = spec(load_tokenizer, path=str(Path(weights) / "tokenizer.json"))
    else:
        tokenizer = spec(tokenizer_of, records=records["train"], kind="wordpiece", vocabulary_size=8000)
    labels = tuple(sorted(set(examples.fields["label"])))
    num_classes = ref(len(labels))
    rows = {
        part: spec(TextRows, records=records[part], tokenizer=tokenizer, length=LENGTH, labels=labels)
        for part in records
    }
    # Few texts are seen more often: a fifth of the steps that a thousand take at least.
    steps = ref(EPOCHS[kind] * max(math.ceil(len(examples) / 32), 60))
    model, init_from = network(kind, weights, num_classes, build(tokenizer).vocabulary_size)
    return spec(
        Experiment,
        steps=steps,
        model=model,
        task=spec(TextClassification, num_classes=num_classes, label_smoothing=0.05),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.01,
            learning_rate=spec(linear, peak=RATES[kind], steps=steps, warmup_steps=steps // 10),
            learning_rate_multipliers=((r"head/.*", 10.0), (".*", 1.0)) if kind == "pretrained" else (),
            clip_norm=1.0,
        ),
        init_from=None if kind == "scratch" else init_from,
        frozen=(r"encoder/.*",) if kind == "probe" else (),
        tokenizer=tokenizer,
        train=spec(Pipeline, source=rows["train"], batch_size=32),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=rows["test"], batch_size=128))},
        saving=spec(Saving),
    )


def split(path, part, fold, on_bad):
    """The texts to train on, or to test on."""
    if Path(path).is_dir():
        return spec(read_classes, path=str(Path(path) / part), on_bad=on_bad)
    ending = Path(path.removesuffix(".gz")).suffix
    if ending in (".csv", ".tsv"):
        records = spec(read_table, path=path, fields=("text", "label"), on_bad=on_bad)
    elif ending in (".jsonl", ".json"):
        records = spec(read_jsonl, path=path, fields=("text", "label"), on_bad=on_bad)
    else:
        table = spec(
            read_table,
            path=path,
            fields={"score": 1, "text": 2},
            delimiter="\t",
            header=False,
            encoding="latin1",
            on_bad=on_bad,
        )
        records = spec(by_score, records=table, on_bad=on_bad)
    return spec(fold_of, records=records, part=part, fold=fold)


def network(kind, weights, num_classes, vocabulary_size):
    """The model, and what it starts from."""
    match kind:
        case "bag":
            return spec(
                BagOfEmbeddings, num_classes=num_classes, vocab_size=vocabulary_size, word_dropout_rate=0.3
            ), None
        case "lstm":
            model = spec(
                RecurrentClassifier,
                num_classes=num_classes,
                vocab_size=vocabulary_size,
                bidirectional=True,
                pooling="max",
                word_dropout_rate=0.2,
                dropout_rate=0.4,
            )
            return model, None
        case "transformer":
            encoder, init_from = spec(Bert, vocab_size=vocabulary_size, pooler=False, **SIZES), None
        case _:
            encoder, init_from = encoder_from(weights)
    return spec(TextClassifier, encoder=encoder, num_classes=num_classes, pooling="mean"), init_from
