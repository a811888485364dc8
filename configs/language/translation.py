"""Translation from scratch, with the captions of Multi30k (Elliott et al. 2016) and a tiny Transformer.

The argument is the folder with train.en.gz, train.de.gz, val.* and test_2016_flickr.* (gzipped or plain), and after a
colon "rnn" for the recurrent model with attention (Bahdanau et al. 2015):

jaxdl train --config configs/language/translation.py:FOLDER --workdir runs/translation
jaxdl train --config configs/language/translation.py:FOLDER:rnn --workdir runs/translation_rnn
"""

from pathlib import Path

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, read_parallel, tokenizer_of
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.models.transformer import Transformer
from jaxdl.optim import adam, inverse_sqrt, optimizer
from jaxdl.tasks import Translation, TranslationReport
from jaxdl.train import Evaluation, Experiment, Saving

VOCABULARY = 5_000
LANGUAGES = ("en", "de")


def get_config(arg="data/multi30k"):
    folder, _, kind = arg.partition(":")
    steps = ref(4_000)
    records = {name: pairs(folder, name) for name in ("train", "val", "test_2016_flickr")}
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
            "test": evaluation(records["test_2016_flickr"], tokenizer),
        },
        saving=spec(Saving, every=1_000, best="val/bleu", mode="max"),
        ema_decay=0.995,
    )


def pairs(folder, name):
    paths = [Path(folder) / f"{name}.{language}" for language in LANGUAGES]
    source, target = (str(path if path.exists() else path.with_name(f"{path.name}.gz")) for path in paths)
    return spec(read_parallel, source=source, target=target)


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
