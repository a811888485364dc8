import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxdl.cli import main
from jaxdl.interop import InitFrom, load, save
from jaxdl.interop.transfer import apply
from jaxdl.models.bert import Bert

LAYOUT = """
from jaxdl.interop.layout import TRANSPOSE, Rule

def mlp():
    return tuple(
        rule
        for ours, theirs in (("hidden_{i}", "layers.{i}"), ("head", "out"))
        for rule in (Rule(f"{ours}/kernel", f"{theirs}.weight", TRANSPOSE), Rule(f"{ours}/bias", f"{theirs}.bias"))
    )
"""
FORMS = {
    "bert": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": 11,
        "hidden_size": 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 16,
    }
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "my_layouts.py").write_text(LAYOUT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bert(here):
    """A file of ours, and the same as a folder of theirs."""
    model = Bert(vocab_size=11, features=4, num_layers=2, num_heads=2, hidden=8, max_length=16)
    variables = model.init(jax.random.key(0), tokens=np.zeros((1, 3), np.int32), train=False)
    save(here / "ours.safetensors", model, variables, config=FORMS["bert"])
    assert main(["convert", "ours.safetensors", "theirs", "--to", "huggingface"]) == 0
    return here


def convert(*words):
    return main(["convert", *map(str, words)])


def test_there_and_back_is_bit_equal(bert, capsys):
    assert json.loads((bert / "theirs" / "config.json").read_text()) == FORMS["bert"]
    assert convert("theirs", "again.safetensors") == 0
    said = capsys.readouterr().out
    assert "layers/block_{0..1}/attention/query/kernel" in said
    assert "again.safetensors" in said.splitlines()[-1]
    assert (bert / "again.safetensors").read_bytes()
    ours, again = load_file(bert / "ours.safetensors"), load_file(bert / "again.safetensors")
    assert ours.keys() == again.keys()
    assert all(ours[name].tobytes() == again[name].tobytes() for name in ours)
    assert convert("again.safetensors", "theirs_again", "--to", "huggingface") == 0
    first, second = (load_file(bert / name / "model.safetensors") for name in ("theirs", "theirs_again"))
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    jax.tree.map(np.testing.assert_array_equal, load(bert / "theirs")[1], load(bert / "ours.safetensors")[1])


def test_a_dry_run_writes_nothing(bert, capsys):
    assert convert("theirs", "--dry-run", "--verbose") == 0
    said = capsys.readouterr().out
    assert "layers/block_1/attention/query/kernel" in said
    assert "transposed" in said
    assert sorted(path.name for path in bert.iterdir()) == ["my_layouts.py", "ours.safetensors", "theirs"]


def test_what_is_unexplained_is_refused(bert, capsys):
    path = bert / "theirs" / "model.safetensors"
    tensors = load_file(path)
    tensors["novel.weight"] = np.zeros(3, np.float32)
    save_file(tensors, path)
    assert convert("theirs", "x.safetensors") == 66
    assert "novel.weight" in capsys.readouterr().err
    assert not (bert / "x.safetensors").exists()
    assert convert("theirs", "--dry-run") == 66
    assert convert("theirs", "x.safetensors", "--skip", r"novel\..*") == 0
    assert convert("theirs", "x.safetensors", "--skip", "misspelt") == 2


def test_the_type_can_be_chosen(bert):
    assert convert("ours.safetensors", "half", "--to", "huggingface", "--dtype", "bfloat16") == 0
    assert {str(x.dtype) for x in load_file(bert / "half" / "model.safetensors").values()} == {"bfloat16"}


def test_a_prefix_and_one_file(bert):
    assert convert("ours.safetensors", "one.safetensors", "--to", "huggingface", "--prefix", "bert.") == 0
    assert "bert.encoder.layer.0.output.dense.weight" in load_file(bert / "one.safetensors")


def test_a_run_goes_out_and_into_the_model_of_a_config(here, run, config, capsys):
    assert convert(run, "theirs", "--to", "huggingface", "--layout", "my_layouts:mlp") == 0
    assert "no config.json" in capsys.readouterr().out
    tensors = load_file(here / "theirs" / "model.safetensors")
    assert set(tensors) == {"layers.0.weight", "layers.0.bias", "out.weight", "out.bias"}
    words = ("theirs/model.safetensors", "back.safetensors", "--layout", "my_layouts:mlp", "--config", config)
    assert convert(*words) == 0
    model, variables = load("back.safetensors")
    assert model.widths == (32,)
    tree, _ = apply(InitFrom(path=str(run)), jax.tree.map(np.zeros_like, variables))
    jax.tree.map(np.testing.assert_array_equal, tree, variables)
    assert convert(*words, "--config.model.widths=(16,)") == 66
    assert convert(*words, "--config.model.widths=(16,)", "--skip", ".*") == 0


def test_a_run_without_a_family_needs_a_layout(here, run, capsys):
    assert convert(run, "theirs", "--to", "huggingface") == 2
    assert "--layout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nowhere", "x.safetensors"), 66, "nowhere"),
        (("theirs",), 2, "--dry-run"),
        (("theirs", "x.bin"), 2, "must end in .safetensors"),
        (("theirs", "x.safetensors", "--layout", "brt"), 2, "known are bert"),
        (("theirs", "x.safetensors", "--layout", "nowhere:mlp"), 2, "nowhere"),
        (("theirs", "x.safetensors", "--map", "a"), 2, "REGEX=TEXT"),
        (("theirs", "x.safetensors", "--like", "theirs"), 2, "--to huggingface"),
        (("ours.safetensors", "x", "--to", "huggingface", "--skip", "a"), 2, "leave out --skip"),
    ],
)
def test_wrong_words(bert, capsys, words, code, message):
    assert convert(*words) == code
    assert message in capsys.readouterr().err
