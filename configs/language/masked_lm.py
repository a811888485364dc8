"""A small BERT that learns from unlabelled text by guessing hidden words, for tasks with few labels to start from.

The argument is a text file of one sentence or paragraph a line, or a folder of them. A twentieth is held out. After a
colon, a folder with a `tokenizer.json` gives the words; without it they are learned from the text.
With `:skip` at the end lines that are not UTF-8 are left out.

jaxdl train --config configs/language/masked_lm.py:FILE --workdir runs/masked
jaxdl train --config configs/language/sentiment.py:LABELLED:pretrained:runs/masked:500 --workdir runs/few
"""

from jaxdl.augment import MaskTokens
from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import MaskedRows, TextRows, fold_of, load_tokenizer, read_lines, tokenizer_of
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import MaskedLanguageModel
from jaxdl.optim import adam, linear, optimizer
from jaxdl.tasks import MaskedLanguageModeling
from jaxdl.train import Evaluation, Experiment, Saving

EPOCHS = 8


def get_config(arg):
    on_bad, arg = "skip" if arg.endswith(":skip") else "raise", arg.removesuffix(":skip")
    path, _, words = arg.partition(":")
    text = spec(read_lines, path=path, on_bad=on_bad)
    part = {name: spec(fold_of, records=text, part=name, folds=20, label_field=None) for name in ("train", "test")}
    if words:
        tokenizer = spec(load_tokenizer, path=words)
    else:
        tokenizer = spec(tokenizer_of, records=part["train"], kind="wordpiece", vocabulary_size=4000)
    made, length = build(tokenizer), ref(40)
    special = {made.find(role) for role in ("pad", "unknown", "begin", "end", "mask", "separator")} - {None}
    vocabulary_size = ref(made.vocabulary_size)
    hidden = {
        "vocabulary_size": vocabulary_size,
        "mask_token": made.special("mask"),
        "random_from": max(special) + 1,
        "never": tuple(sorted(special)),
        # Little text is read more thoroughly by hiding more of it (Wettig et al. 2023).
        "rate": 0.3,
    }
    rows = {
        name: spec(TextRows, records=part[name], tokenizer=tokenizer, length=length, label_field=None) for name in part
    }
    steps = ref(EPOCHS * len(build(part["train"])) // 32)
    encoder = spec(
        Bert,
        vocab_size=vocabulary_size,
        max_length=length,
        num_types=0,
        features=128,
        num_layers=4,
        num_heads=4,
        hidden=512,
        pooler=False,
        dropout_rate=0.0,
        attention_dropout_rate=0.0,
    )
    return spec(
        Experiment,
        steps=steps,
        model=spec(MaskedLanguageModel, encoder=encoder),
        task=spec(MaskedLanguageModeling, vocabulary_size=vocabulary_size),
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.98),
            weight_decay=0.01,
            learning_rate=spec(linear, peak=1e-3, steps=steps, warmup_steps=steps // 10),
            clip_norm=1.0,
        ),
        augment=spec(MaskTokens, **hidden, limit=16),
        tokenizer=tokenizer,
        train=spec(Pipeline, source=rows["train"], batch_size=32),
        evals={
            "test": spec(
                Evaluation,
                data=spec(Pipeline, source=spec(MaskedRows, source=rows["test"], **hidden), batch_size=128),
                every_epochs=1.0,
            )
        },
        saving=spec(Saving, every=500),
    )
