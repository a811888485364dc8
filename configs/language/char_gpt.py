"""A small GPT that writes text character by character, with nanoGPT's sizes and settings for a CPU (Karpathy 2022).

The argument is a text file, and after a colon what a token is where not a character: `byte`, or `bpe`. Without a file
it learns the language reference that Python carries. With `:skip` at the end lines that are not UTF-8 are left out.

jaxdl train --config configs/language/char_gpt.py --workdir runs/reference
jaxdl train --config configs/language/char_gpt.py:FILE --workdir runs/mine
jaxdl train --config configs/language/char_gpt.py:FILE:bpe --workdir runs/mine_bpe
"""

from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PackedRows, part_of, python_reference, read_lines, tokenized, tokenizer_of
from jaxdl.models.gpt2 import GPT2
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import LanguageModeling
from jaxdl.train import Evaluation, Experiment, Saving

KINDS = {"char": "character", "byte": "byte", "bpe": "bpe"}


def get_config(arg=""):
    on_bad, arg = "skip" if arg.endswith(":skip") else "raise", arg.removesuffix(":skip")
    path, kind = arg, "char"
    if arg.rpartition(":")[2] in KINDS:
        path, _, kind = arg.rpartition(":")
    text = spec(read_lines, path=path, unit="file", on_bad=on_bad) if path else spec(python_reference)
    tokenizer = spec(tokenizer_of, records=text, kind=KINDS[kind], vocabulary_size=1024)
    vocabulary_size = ref(build(tokenizer).vocabulary_size)
    steps, length = ref(2000), ref(64)
    stream = spec(tokenized, records=text, tokenizer=tokenizer)
    train = spec(PackedRows, stream=spec(part_of, stream=stream, end=0.9), length=length, stride=16)
    val = spec(PackedRows, stream=spec(part_of, stream=stream, begin=0.9), length=length)
    return spec(
        Experiment,
        steps=steps,
        model=spec(
            GPT2,
            vocab_size=vocabulary_size,
            max_length=length,
            features=128,
            num_layers=4,
            num_heads=4,
            dropout_rate=0.0,
            attention_dropout_rate=0.0,
        ),
        task=spec(LanguageModeling, vocabulary_size=vocabulary_size),
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.99),
            weight_decay=0.1,
            learning_rate=spec(cosine, peak=1e-3, steps=steps, end_fraction=0.1, warmup_steps=steps // 20),
            clip_norm=1.0,
        ),
        tokenizer=tokenizer,
        train=spec(Pipeline, source=train, batch_size=12),
        evals={"val": spec(Evaluation, data=spec(Pipeline, source=val, batch_size=64), every=500)},
        saving=spec(Saving, every=500, best="val/nll", mode="min"),
    )
