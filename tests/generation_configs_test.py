"""The configs of text generation and translation: on small stand-ins, two steps each."""

import dataclasses
import gzip
import math

import pytest

from jaxdl import config
from jaxdl.errors import ConfigError, DataError
from jaxdl.train import Experiment, train

pytestmark = pytest.mark.usefixtures("here_on_one_device")

PAIRS = [("a dog runs", "ein Hund rennt"), ("two men sit", "zwei Männer sitzen"), ("a red ball", "ein roter Ball")]
SMALL = ("train.batch_size=8", "train.window=2")


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """The files of Multi30k, with three captions again and again."""
    folder = tmp_path_factory.mktemp("captions")
    for split, count in (("train", 30), ("val", 2), ("test_2016_flickr", 2)):
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]} {number}\n" for number in range(count) for pair in PAIRS)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    return folder


def check_two_steps(path, *flags):
    tree = config.override(config.load(path), flags)
    config.check(tree, Experiment)
    experiment = dataclasses.replace(config.build(tree), steps=2, tensorboard=False, steps_per_dispatch=1)
    results = train(experiment, quiet=True).results
    assert results
    assert all(math.isfinite(value) for value in results.values())
    return results


def test_characters(tmp_path):
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 100)
    results = check_two_steps(f"configs/language/char_gpt.py:{tmp_path}/text.txt", "model.num_layers=1")
    assert "val/bits_per_byte" in results


def test_the_default_corpus_is_there():
    tree = config.load("configs/language/char_gpt.py")
    assert tree.model.vocab_size == config.build(tree.tokenizer).vocabulary_size


def test_pairs_come_from_folders_of_any_languages_and_from_tables(tmp_path):
    for part in ("train", "val", "test"):
        for language in ("en", "fr"):
            (tmp_path / f"{part}.{language}").write_text(f"{part} {language}\n" * 3)
    tree = config.load(f"configs/language/translation.py:{tmp_path}:rnn:en-fr")
    assert tree.evals.test.data.source.records.target.endswith("test.fr")
    with pytest.raises(DataError, match=r"has none of train\.de, train\.de\.gz"):
        config.load(f"configs/language/translation.py:{tmp_path}")
    with pytest.raises(ConfigError, match="one of transformer, rnn, not 'rrn'"):
        config.load(f"configs/language/translation.py:{tmp_path}:rrn")
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f'one "{i}\teins {i}\n' for i in range(40)))
    tree = config.load(f"configs/language/translation.py:{table}")
    parts = [tree.train.source, tree.evals.val.data.source, tree.evals.test.data.source]
    found = [set(config.build(part.records).fields["source"]) for part in parts]
    assert [len(part) for part in found] == [36, 2, 2]
    assert set().union(*found) == {f'one "{i}' for i in range(40)}


def test_gzipped_pairs_are_a_table_too(tmp_path):
    table = tmp_path / "pairs.tsv.gz"
    table.write_bytes(gzip.compress("".join(f'one "{i}\teins {i}\n' for i in range(40)).encode()))
    tree = config.load(f"configs/language/translation.py:{table}")
    assert len(config.build(tree.train.source.records)) == 36
    quoted = tmp_path / "pairs.csv"
    quoted.write_text("".join(f'"one, {i}",eins {i}\n' for i in range(40)))
    tree = config.load(f"configs/language/translation.py:{quoted}")
    assert config.build(tree.train.source.records).fields["source"][0].startswith("one, ")


def test_bad_lines_are_left_out_on_request(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"To be, or not to be.\n" * 50 + b"caf\xe9\n")
    for name in (f"char_gpt.py:{tmp_path}/text.txt", f"char_gpt.py:{tmp_path}/text.txt:byte"):
        with pytest.raises(DataError, match=r"text\.txt:51: is not utf-8: .*by ':skip' at the end"):
            config.build(config.load(f"configs/language/{name}").train.source)
        source = config.build(config.load(f"configs/language/{name}:skip").train.source)
        assert source.stream.skipped == {"not utf-8": 1}
    text = config.load(f"configs/language/gpt2.py:small:{tmp_path}/text.txt:skip").train.source.stream.stream.records
    assert config.build(text).skipped == {"not utf-8": 1}
    (tmp_path / "pairs.tsv").write_text("".join(f"one {i}\teins {i}\n" for i in range(40)) + "two\t\n")
    tree = config.load(f"configs/language/translation.py:{tmp_path / 'pairs.tsv'}:rnn:skip")
    assert config.build(tree.train.source.records).skipped == {"an empty field": 1}
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.en").write_text("one\ntwo\n")
        (tmp_path / f"{part}.fr").write_text("un\n\n")
    tree = config.load(f"configs/language/translation.py:{tmp_path}:transformer:en-fr:skip")
    assert config.build(tree.evals.test.data.source.records).skipped == {"an empty field": 1}


def test_a_folder_whose_last_text_is_the_largest_is_split(tmp_path):
    for name, count in (("a", 1), ("b", 2), ("c", 200)):
        (tmp_path / f"{name}.txt").write_text("To be, or not to be, that is the question.\n" * count)
    tree = config.load(f"configs/language/char_gpt.py:{tmp_path}")
    train_part, val_part = (config.build(one.stream) for one in (tree.train.source, tree.evals.val.data.source))
    assert len(val_part) == pytest.approx(0.1 * (len(train_part) + len(val_part)), abs=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", ":rnn"])
def test_translation(captions, kind):
    results = check_two_steps(f"configs/language/translation.py:{captions}{kind}", *SMALL, "task.beams=1")
    assert "val/bleu" in results
