"""GPT-2 on a corpus, with the sizes of Radford et al. (2019) and the settings of Brown et al. (2020), appendix B.

The argument is the size, and after a colon a text file or a folder of them, which is cut into 50,304 pieces of bytes;
without one the text is random, to plan and time a run. With `:skip` at the end lines that are not UTF-8 are left out.

jaxdl train --config configs/language/gpt2.py:small:FILE --workdir runs/gpt2
jaxdl plan --config configs/language/gpt2.py:small --devices 64 --config.mesh='{fsdp: 64}'
"""

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import Synthetic
from jaxdl.data.sources.synthetic import Field
from jaxdl.data.text import PackedRows, part_of, read_lines, tokenized, tokenizer_of
from jaxdl.errors import ConfigError
from jaxdl.learners import Precision
from jaxdl.models.gpt2 import GPT2
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import LanguageModeling
from jaxdl.train import Evaluation, Experiment, Saving

# Layers, features, heads, and the learning rate of Brown et al. (2020), table 2.1, for the nearest size.
SIZES = {
    "small": (12, 768, 12, 6e-4),
    "medium": (24, 1024, 16, 3e-4),
    "large": (36, 1280, 20, 2.5e-4),
    "xl": (48, 1600, 25, 2e-4),
}
PIECES, LENGTH = 50_304, 1024


def get_config(arg="small"):
    on_bad, arg = "skip" if arg.endswith(":skip") else "raise", arg.removesuffix(":skip")
    size, _, path = arg.partition(":")
    if size not in SIZES:
        raise ConfigError(f"The sizes are {', '.join(SIZES)}, not {size!r}.")
    layers, features, heads, rate = SIZES[size]
    steps = ref(600_000)
    tokenizer, rows = corpus(path, on_bad) if path else (None, {"train": noise(2**24), "val": noise(2**16)})
    return spec(
        Experiment,
        steps=steps,
        model=spec(
            GPT2,
            vocab_size=PIECES,
            max_length=LENGTH,
            features=features,
            num_layers=layers,
            num_heads=heads,
            dropout_rate=0.0,
            attention_dropout_rate=0.0,
            remat=True,
        ),
        task=spec(LanguageModeling, vocabulary_size=PIECES),
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.95),
            weight_decay=0.1,
            learning_rate=spec(cosine, peak=rate, steps=steps, end_fraction=0.1, warmup_steps=2000),
            clip_norm=1.0,
        ),
        precision=spec(Precision, compute="bfloat16"),
        tokenizer=tokenizer,
        mesh={"data": 1, "fsdp": -1},
        train=spec(Pipeline, source=rows["train"], batch_size=512),
        evals={"val": spec(Evaluation, data=spec(Pipeline, source=rows["val"], batch_size=512), every=2000)},
        saving=spec(Saving, every=1000, best="val/nll", mode="min"),
    )


def corpus(path, on_bad):
    """The tokenizer, and the rows of both parts: the last hundredth of the text is held out."""
    text = spec(read_lines, path=path, unit="file", on_bad=on_bad)
    tokenizer = spec(tokenizer_of, records=text, kind="bpe", vocabulary_size=PIECES)
    stream = spec(tokenized, records=text, tokenizer=tokenizer)
    parts = {"train": {"end": 0.99}, "val": {"begin": 0.99}}
    rows = {
        name: spec(PackedRows, stream=spec(part_of, stream=stream, **part), length=LENGTH)
        for name, part in parts.items()
    }
    return tokenizer, rows


def noise(count):
    """Rows of random pieces."""
    piece = spec(Field, dtype="int32", shape=(LENGTH,), high=PIECES)
    real = spec(Field, dtype="float32", shape=(LENGTH,), low=1, high=1)
    return spec(Synthetic, count=count, fields={"tokens": piece, "targets": piece, "token_mask": real})
