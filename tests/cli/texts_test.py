"""Small runs over text, trained, evaluated and asked by the command line."""

import io
import json

import jax
import numpy as np
import pytest

from jaxdl.cli import main
from jaxdl.inference import attention_of, heat_map, load, predict_texts

pytestmark = pytest.mark.slow  # Many programs to compile.

TRANSLATION = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, read_parallel, tokenizer_of
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Translation, TranslationReport
from jaxdl.train import Evaluation, Experiment, Saving

def get_config(folder):
    records = spec(read_parallel, source=folder + "/source", target=folder + "/target")
    tokenizer = spec(tokenizer_of, records=records, kind="character", field=("source", "target"))
    rows = spec(PairRows, records=records, tokenizer=tokenizer, widths=(4, 8))
    return spec(
        Experiment, steps=30, log_every=10, tensorboard=False,
        model=spec(RecurrentSeq2Seq, vocab_size=12, embedding_dim=16, features=16),
        task=spec(Translation, vocabulary_size=12, beams=2, label_smoothing=0.0), tokenizer=tokenizer,
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=1e-2),
        train=spec(Pipeline, source=rows, batch_size=16, window=3), mesh={"data": -1}, ema_decay=0.9,
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=rows, batch_size=24), every=15,
                            report=spec(TranslationReport, tokenizer=tokenizer, records=records))},
        saving=spec(Saving, every=15, best="test/chrf", mode="max"),
    )
"""
CLASSES = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.text import TextRows, read_table, tokenizer_of
from jaxdl.models.recurrent import BagOfEmbeddings
from jaxdl.optim import adam, optimizer
from jaxdl.tasks.text_classification import TextClassification
from jaxdl.train import Evaluation, Experiment, Saving

def get_config(path):
    records = spec(read_table, path=path, fields=("text", "label"))
    tokenizer = spec(tokenizer_of, records=records, kind="character")
    rows = spec(TextRows, records=records, tokenizer=tokenizer, length=8)
    return spec(
        Experiment, steps=60, log_every=20, tensorboard=False, tokenizer=tokenizer,
        model=spec(BagOfEmbeddings, num_classes=2, vocab_size=16), task=spec(TextClassification, num_classes=2),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-2),
        train=spec(Pipeline, source=rows, batch_size=8), saving=spec(Saving),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=rows, batch_size=8))},
    )
"""


def trained(folder, config, argument):
    (folder / "config.py").write_text(config)
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    patch.setenv("MALLOC_ARENA_MAX", "8")
    code = main(["train", "--config", f"{folder}/config.py:{argument}", "--workdir", f"{folder}/run", "--quiet"])
    patch.undo()
    assert code == 0
    return folder / "run"


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translation")
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcdeé"), random.integers(1, 7))) for _ in range(50)]
    (folder / "source").write_text("\n".join(texts))
    (folder / "target").write_text("\n".join(text[::-1] for text in texts))
    run = trained(folder, TRANSLATION, folder)
    for name in ("source", "target"):
        (folder / name).unlink()  # What follows needs no training text.
    return run, texts


def test_a_translation_run_keeps_its_scores(translator):
    run, _ = translator
    results = json.loads((run / "summary.json").read_text())["results"]
    assert {"test/loss", "test/accuracy", "test/nll", "test/perplexity", "test/bleu", "test/chrf"} <= results.keys()
    assert (run / "tokenizer.json").exists()


def test_evaluate_gives_scores_with_intervals_and_signatures(jaxdl, translator):
    run, texts = translator
    for name, lines in (("source", texts), ("target", [text[::-1] for text in texts])):
        (run.parent / name).write_text("\n".join(lines))
    code, out, err = jaxdl("evaluate", "--workdir", run, "--json", "--step", "last", "--replicates", "20")
    assert (code, err) == (0, "")
    row = json.loads(out)
    results = json.loads((run / "summary.json").read_text())["results"]
    assert row["examples"] == 50
    assert row["chrf"] == pytest.approx(results["test/chrf"], abs=1e-3)
    low, high = row["intervals_95"]["chrf"]
    assert low <= row["chrf"] <= high
    assert row["signatures"]["bleu"].startswith("nrefs:1|")
    _, out, _ = jaxdl("evaluate", "--workdir", run, "--replicates", "0")
    assert "chrf is nrefs:1|" in out
    for name in ("source", "target"):
        (run.parent / name).unlink()


def test_lines_are_translated_in_order(jaxdl, translator, monkeypatch, tmp_path):
    run, texts = translator
    lines = [*texts[:5], "", "ungewöhnlich 猫", "abc" * 12]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    code, out, _ = jaxdl("predict", "--workdir", run, tmp_path / "lines.txt", "--batch-size", "3")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == lines
    assert [row["line"] for row in rows] == list(range(1, 9))
    assert rows[5]["translation"] == ""
    assert all(row["score"] < 0 for row in rows[:5])
    # Whatever else is in a batch changes nothing.
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    _, again, _ = jaxdl("predict", "--workdir", run, "-", "--batch-size", "8")
    assert [json.loads(line)["translation"] for line in again.splitlines()] == [row["translation"] for row in rows]


def test_attention_is_drawn(jaxdl, translator, tmp_path):
    from PIL import Image

    run, texts = translator
    (tmp_path / "lines.txt").write_text(texts[0] + "\n\n" + texts[1])
    folder = tmp_path / "pictures"
    code, _, _ = jaxdl("predict", "--workdir", run, tmp_path / "lines.txt", "--attention", folder)
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["1.png", "3.png"]
    weights, targets, sources = attention_of(load(run), texts[0], texts[0][::-1])
    assert weights.shape == (len(targets), len(sources))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert "".join(sources[:-1]) == texts[0]
    picture = heat_map(weights, targets, sources)
    cell = np.asarray(picture)[-1, -1]
    assert cell == round(float(weights[-1, -1]) * 255)
    with Image.open(folder / "1.png") as drawn:
        assert drawn.mode == "L"


def test_lines_are_classified(jaxdl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    lines = [f"{letters * 3},{label}" for letters, label in (("ab", "left"), ("cd", "right")) for _ in range(8)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *lines]))
    run = trained(folder, CLASSES, folder / "texts.csv")
    (folder / "texts.csv").unlink()
    (folder / "lines.txt").write_text("abba\n\ndcdcdcdcdcdcdcdc\n")
    code, out, _ = jaxdl("predict", "--workdir", run, folder / "lines.txt", "--top", "2")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 65
    assert [row.get("label") for row in rows] == ["left", None, "right"]
    assert rows[1]["error"] == "the line is blank"
    assert sum(one["probability"] for one in rows[0]["top"]) == pytest.approx(1, abs=1e-5)
    code, out, err = jaxdl("predict", "--workdir", run, folder / "lines.txt", "--attention", folder / "pictures")
    assert (code, out) == (2, "")
    assert "A BagOfEmbeddings has no attention to show" in err
    assert not (folder / "pictures").exists()
    with pytest.raises(Exception, match="attention"):
        attention_of(load(run), "ab", "ab")
    assert [one.values is None for one in predict_texts(load(run), ["ab", " "], batch_size=1)] == [False, True]
