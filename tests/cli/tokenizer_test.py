"""One tokenizer in all parts of a run: what trains, what measures, what is saved."""

import json
import shutil

import numpy as np
import pytest

from jaxdl import config as configs
from jaxdl.cli.train import build_experiment
from jaxdl.data.text import load_tokenizer

CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.text import TextRows, read_table, tokenizer_of
from jaxdl.models.recurrent import BagOfEmbeddings
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import TextClassification
from jaxdl.train import Evaluation, Experiment, Saving


def get_config(path):
    records = spec(read_table, path=path, fields=("text", "label"))
    tokenizer = spec(tokenizer_of, records=records, kind="wordpiece", vocabulary_size=200)
    rows = spec(TextRows, records=records, tokenizer=tokenizer, length=8, labels=("no", "yes"))
    return spec(
        Experiment, steps=20, log_every=10, tensorboard=False,
        model=spec(BagOfEmbeddings, vocab_size=260, embedding_dim=8, num_classes=2),
        task=spec(TextClassification, num_classes=2), tokenizer=tokenizer,
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=1e-2),
        train=spec(Pipeline, source=rows, batch_size=16), mesh={"data": -1},
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=rows, batch_size=40))},
        saving=spec(Saving, every=10),
    )
"""


@pytest.fixture
def texts(tmp_path):
    """A table of 80 made-up texts, and its config."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(60)]
    rows = [f"{' '.join(rng.choice(words, 6))},{rng.choice(['no', 'yes'])}" for _ in range(80)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "small.py").write_text(CONFIG)
    return f"{tmp_path / 'small.py'}:{tmp_path / 'texts.csv'}"


def test_all_parts_have_the_tokenizer_that_is_saved(jaxdl, texts, tmp_path):
    tree = configs.load(texts)
    experiment = build_experiment(tree, None)
    parts = (experiment.train.source.tokenizer, experiment.evals["test"].data.source.tokenizer)
    assert all(part is experiment.tokenizer for part in parts), "it is trained once"
    code, _, err = jaxdl("train", "--config", texts, "--workdir", tmp_path / "run", "--quiet")
    assert code == 0, err
    assert load_tokenizer(path=str(tmp_path / "run")) == experiment.tokenizer


def test_evaluation_reads_with_the_words_of_the_run_though_its_texts_are_gone(jaxdl, texts, tmp_path):
    run = tmp_path / "run"
    assert jaxdl("train", "--config", texts, "--workdir", run, "--quiet")[0] == 0
    logged = json.loads((run / "summary.json").read_text())["results"]
    tree = configs.from_json((run / "config.json").read_text())
    few = tmp_path / "few.csv"
    few.write_text("".join((tmp_path / "texts.csv").read_text().splitlines(keepends=True)[:40]))
    for source in (None, few):
        override = [] if source is None else [f"--config.evals.test.data.source.records.path={source}"]
        code, out, err = jaxdl("evaluate", "--workdir", run, "--json", "--step", "last", *override)
        assert code == 0, err
        if source is None:
            assert json.loads(out)["loss"] == pytest.approx(logged["test/loss"], rel=1e-5)
    shutil.copy(few, tmp_path / "texts.csv")
    kept = (run / "tokenizer.json").read_text()
    assert build_experiment(tree, ()).tokenizer.json != kept, "these texts would give other words"
    assert build_experiment(tree, (), run).train.source.tokenizer.json == kept


def test_an_override_of_the_tokenizer_holds_everywhere(jaxdl, texts, tmp_path):
    flags = ["--config.tokenizer.vocabulary_size=120", "--config.tokenizer.kind=bpe"]
    code, out, _ = jaxdl("config", "--config", texts, *flags, "--json")
    assert code == 0
    tree = configs.from_json(out)
    places = {"tokenizer", "train.source.tokenizer", "evals.test.data.source.tokenizer"}
    assert set(configs.places(tree, tree["tokenizer"])) == places
    assert tree["train"]["source"]["tokenizer"]["kind"] == "bpe"


def test_a_model_that_knows_fewer_words_is_refused(jaxdl, texts, tmp_path):
    flags = ["--config.model.vocab_size=150", "--quiet"]
    code, _, err = jaxdl("train", "--config", texts, "--workdir", tmp_path / "run", *flags)
    assert code == 2
    assert "model.vocab_size is 150, but the tokenizer has" in err
    assert "--config.model.vocab_size=" in err
