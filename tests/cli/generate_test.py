"""`jaxdl generate`, on a run that the command line trained on a little text."""

import io
import json

import jax
import pytest

from jaxdl.cli import main
from jaxdl.data.text import characters, utf8_bytes

CONFIG = """
from jaxdl.config import build, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PackedRows, read_lines, tokenized, tokenizer_of
from jaxdl.models.gpt2 import GPT2
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import LanguageModeling
from jaxdl.train import Experiment

def get_config(path):
    text = spec(read_lines, path=path, unit="file")
    tokenizer = spec(tokenizer_of, records=text, kind="character")
    size = build(tokenizer).vocabulary_size
    source = spec(PackedRows, stream=spec(tokenized, records=text, tokenizer=tokenizer), length=24, stride=1)
    return spec(
        Experiment, steps=200, tensorboard=False, tokenizer=tokenizer,
        model=spec(GPT2, vocab_size=size, max_length=24, features=32, num_layers=1, num_heads=2, dropout_rate=0.0),
        task=spec(LanguageModeling, vocabulary_size=size),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        train=spec(Pipeline, source=source, batch_size=16),
    )
"""


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A run folder of a model that learnt `abcabcabc...` by heart; the text is gone."""
    root = tmp_path_factory.mktemp("writer")
    (root / "config.py").write_text(CONFIG)
    (root / "text.txt").write_text("abc" * 300)
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    patch.setenv("MALLOC_ARENA_MAX", "8")
    config = f"{root / 'config.py'}:{root / 'text.txt'}"
    code = main(["train", "--config", config, "--workdir", str(root / "run"), "--quiet"])
    patch.undo()
    (root / "text.txt").unlink()
    assert code == 0
    return root / "run"


def test_continues_one_prompt_as_plain_text(jaxdl, writer):
    code, out, err = jaxdl("generate", "--workdir", writer, "--prompt", "abca", "--temperature", 0, "--max-tokens", 50)
    assert (code, out, err) == (0, ("abc" * 20)[:54] + "\n", "")
    _, out, _ = jaxdl("generate", "--workdir", writer, "--prompt", "abca", "--temperature", 0, "--stop", "ab")
    assert out == "abcabc\n"


def test_says_what_the_vocabulary_does_not_know(jaxdl, writer):
    flags = ("--workdir", writer, "--temperature", 0, "--max-tokens", 3)
    code, out, err = jaxdl("generate", *flags, "--prompt", "zaz", "--prompt", "abc")
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "jaxdl generate: prompt 1: the vocabulary does not know 'z'.\n"


def test_prints_what_it_has_before_the_rest_is_drawn(writer, monkeypatch):
    class Terminal(io.StringIO):
        shown = ()

        def flush(self):
            self.shown = (*self.shown, self.getvalue())

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["generate", "--workdir", str(writer), "--prompt", "a", "--top-k", "1", "--max-tokens", "60"]) == 0
    assert len(set(terminal.shown)) >= 4


def test_several_prompts_are_json_lines(jaxdl, writer, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\n\nca\n"))
    code, out, _ = jaxdl("generate", "--workdir", writer, "--temperature", 0, "--max-tokens", 4)
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["prompt"], row["text"], row["tokens"], row["finish"]) for row in rows] == [
        ("ab", "cabc", 4, "length"),
        ("ca", "bcab", 4, "length"),
    ]
    code, out, _ = jaxdl("generate", "--workdir", writer, "--prompt", "ab", "--json", "--beams", 2, "--max-tokens", 3)
    row = json.loads(out)
    assert (row["text"], len(row["beams"])) == ("cab", 2)
    assert row["score"] == row["beams"][0]["score"] > row["beams"][1]["score"]


def test_the_seed_decides(jaxdl, writer):
    def text(seed):
        flags = ("--temperature", 30, "--seed", seed, "--max-tokens", 30, "--prompt", "a")
        return jaxdl("generate", "--workdir", writer, *flags)[1]

    assert text(1) == text(1) != text(2)


def test_an_exported_file_writes_the_same(jaxdl, writer, tmp_path):
    file = tmp_path / "model.safetensors"
    assert jaxdl("export", "--workdir", writer, "--output", file)[0] == 0
    flags = ("--prompt", "abc", "--max-tokens", 20)
    assert jaxdl("generate", "--model", file, *flags)[1] == jaxdl("generate", "--model", writer, *flags)[1]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--prompt", "a" * 25), 65, "Prompt 1 has 25 tokens, but the model reads 24"),
        (("--prompt", "a", "--top-p", 2), 2, r"top_p must be in (0, 1]"),
        (("--prompt", "a", "--beams", 2, "--top-p", 0.5), 2, "leave --top-p out, or --beams"),
        (("--prompt", "a", "--beams", 2, "--seed", 0, "--min-tokens", 1), 2, "leave --min-tokens, --seed out"),
        (("--prompt", "a", "--length-penalty", 0), 2, "Only beams have a length penalty: give --beams W"),
        (("--prompt", "a\udcff"), 65, "Prompt 1 holds half a character"),
        (("--prompt", "a", "--beams", 9), 2, "fewer than the vocabulary's 9"),
        (("--prompt", "a", "--beams", 2, "--length-penalty", -1), 2, "length_penalty must be at least 0"),
        (("--prompt", "a", "--beams", 2, "--length-penalty", "nan"), 2, "length_penalty must be at least 0"),
    ],
)
def test_says_what_is_wrong(jaxdl, writer, flags, code, message):
    found, out, err = jaxdl("generate", "--workdir", writer, *flags)
    assert (found, out) == (code, "")
    assert message in err


def test_input_in_another_encoding_is_told_by_line(jaxdl, writer, monkeypatch):
    data = io.TextIOWrapper(io.BytesIO(b"ab\nc\xffa\n"), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr("sys.stdin", data)
    code, out, err = jaxdl("generate", "--workdir", writer)
    assert (code, out) == (65, "")
    assert "standard input:2: byte 0xff at column 2 is not UTF-8" in err


def test_refuses_models_that_write_no_text(jaxdl, run, tmp_path):
    code, _, err = jaxdl("generate", "--workdir", run, "--prompt", "a")
    assert code == 2
    assert "saved without a tokenizer" in err
    utf8_bytes().save(tmp_path / "tokenizer.json")
    code, _, err = jaxdl("generate", "--workdir", run, "--prompt", "a", "--tokenizer", tmp_path)
    assert code == 2
    assert "A MLP writes no text" in err


def test_another_tokenizer_in_its_place(jaxdl, writer, tmp_path):
    characters(["xyz"]).save(tmp_path / "tokenizer.json")
    flags = ("--tokenizer", tmp_path, "--prompt", "xyz", "--temperature", 0, "--max-tokens", 6)
    assert jaxdl("generate", "--workdir", writer, *flags)[1] == "xyzxyzxyz\n"
