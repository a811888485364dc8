"""Translation from scratch, with a tiny Transformer, in the size for the captions of Multi30k (Elliott et al. 2016).

The argument is a folder with train.en and train.de, val.* and test.* (or test_2016_flickr.*), plain or gzipped, whose
n-th lines translate each other; or a table of pairs (.tsv, .csv, gzipped or not, without a header), source first, of
which a twentieth each is held out to validate and to test. After a colon comes "rnn" for the recurrent model with
attention (Bahdanau et al. 2015), and after another the languages of the folder, source first, where they are not
"en-de". With ":skip" at the end pairs with an empty side, or with bytes that are not UTF-8, are left out.

jaxdl train --config configs/language/translation.py:FOLDER --workdir runs/translation
jaxdl train --config configs/language/translation.py:FOLDER:rnn --workdir runs/translation_rnn
jaxdl train --config configs/language/translation.py:FOLDER:transformer:en-fr --workdir runs/french
jaxdl train --config configs/language/translation.py:FILE.tsv --workdir runs/pairs
"""

from pathlib import Path

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, fold_of, read_parallel, read_table, tokenizer_of
from jaxdl.errors import ConfigError, DataError
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.models.transformer import Transformer
from jaxdl.optim import adam, inverse_sqrt, optimizer
from jaxdl.tasks import Translation, TranslationReport
from jaxdl.train import Evaluation, Experiment, Saving

VOCABULARY = 5_000
KINDS = ("transformer", "rnn")


def get_config(arg="data/multi30k"):
    on_bad, arg = "skip" if arg.endswith(":skip") else "raise", arg.removesuffix(":skip")
    path, kind, languages = ([*arg.split(":"), "", ""])[:3]
    if kind not in ("", *KINDS):
        raise ConfigError(f"The model must be one of {', '.join(KINDS)}, not {kind!r}.")
    steps = ref(4_000)
    is_table = Path(path.removesuffix(".gz")).suffix in (".tsv", ".csv")
    records = of_table(path, on_bad) if is_table else of_folder(path, languages or "en-de", on_bad)
    tokenizer = spec(
        tokenizer_of, records=records["train"], kind="bpe", vocabulary_size=VOCABULARY, field=("source", "target")
    )
    return spec(
        Experiment,
        steps=steps,
        model=recurrent() if kind == "rnn" else transformer(),
        task=spec(Translation, vocabulary_size=VOCABULARY, label_smoothing=0.1, beams=4, length_penalty=0.6),
        tokenizer=tokenizer,
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.98, eps=1e-9),
            clip_norm=1.0,
            learning_rate=spec(inverse_sqrt, peak=2e-3, warmup_steps=800),
        ),
        # A batch holds captions of one length, so that little of it is padding.
        train=spec(
            Pipeline,
            source=spec(PairRows, records=records["train"], tokenizer=tokenizer, widths=(16, 24, 48)),
            batch_size=64,
            window=100,
        ),
        evals={
            "val": evaluation(records["val"], tokenizer, every=2_000),
            "test": evaluation(records["test"], tokenizer),
        },
        saving=spec(Saving, every=1_000, best="val/bleu", mode="max"),
        ema_decay=0.995,
    )


def of_folder(folder, languages, on_bad):
    """The pairs of each part, of two files."""
    if not Path(folder).is_dir():
        raise DataError(f"There is no folder {folder}.")
    sides = languages.split("-")
    if len(sides) != 2:
        raise ConfigError(f"The languages must be written as en-de, source first, not {languages!r}.")
    names = {"train": ("train",), "val": ("val",), "test": ("test", "test_2016_flickr")}
    files = {part: [file_of(folder, names[part], side) for side in sides] for part in names}
    return {
        part: spec(read_parallel, source=source, target=target, on_bad=on_bad)
        for part, (source, target) in files.items()
    }


def file_of(folder, names, language):
    """The first of these files that is there, plain or gzipped."""
    choices = [Path(folder) / f"{name}.{language}{end}" for name in names for end in ("", ".gz")]
    for path in choices:
        if path.exists():
            return str(path)
    raise DataError(f"{folder} has none of {', '.join(path.name for path in choices)}.")


def of_table(path, on_bad):
    """The pairs of each part, of one table."""
    rows = spec(read_table, path=path, fields={"source": 0, "target": 1}, header=False, on_bad=on_bad)
    cut = {"folds": 20, "label_field": None}
    rest = spec(fold_of, records=rows, part="train", **cut)
    return {
        "train": spec(fold_of, records=rest, part="train", **cut),
        "val": spec(fold_of, records=rest, part="test", **cut),
        "test": spec(fold_of, records=rows, part="test", **cut),
    }


def transformer():
    return spec(
        Transformer,
        vocab_size=VOCABULARY,
        features=128,
        num_layers=4,
        num_heads=4,
        hidden=256,
        order="pre",
        dropout_rate=0.2,
    )


def recurrent():
    return spec(
        RecurrentSeq2Seq, vocab_size=VOCABULARY, embedding_dim=256, features=256, style="bahdanau", dropout_rate=0.3
    )


def evaluation(records, tokenizer, every=None):
    # References are the text itself, and no pair is left out.
    source = spec(PairRows, records=records, tokenizer=tokenizer, widths=(64,), too_long="cut")
    return spec(
        Evaluation,
        data=spec(Pipeline, source=source, batch_size=64),
        every=every,
        report=spec(TranslationReport, tokenizer=tokenizer, records=records),
    )
