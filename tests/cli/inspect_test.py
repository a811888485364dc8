import json

import pytest

COUNT = 64 * 32 + 32 + 32 * 10 + 10


def table(text):
    """The rows of the first table, split at spaces."""
    return [line.split() for line in text.split("\n\n")[0].splitlines()]


def test_a_config(jaxdl, config):
    code, out, _ = jaxdl("inspect", "--config", config, "--config.frozen=('hidden_0/.*',)", "--config.mesh.fsdp=4")
    assert code == 0
    rows = {row[0]: row[1:] for row in table(out)}
    assert rows["hidden_0/kernel"] == ["64", "x", "32", "2,048", "float32", "fsdp", "x", "-", "frozen"]
    assert rows["head/bias"] == ["10", "10", "float32", "whole", "trainable"]
    assert out.splitlines()[-1].split() == ["total", f"{COUNT:,}", "330", f"{4 * COUNT:,}"]


def test_its_layers(jaxdl, config):
    code, out, _ = jaxdl("inspect", "--config", f"{config}:16", "--layers", "--depth", 1)
    assert code == 0
    rows = {row[0]: row[1:] for row in table(out)}
    assert rows["hidden_0"] == ["Dense", "1", "x", "16", "1,040", "2,048"]
    assert rows["(model)"] == ["MLP", "1", "x", "10", "1,210", "2,368"]


def test_depth_leaves_groups(jaxdl, config):
    _, out, _ = jaxdl("inspect", "--config", config, "--depth", 1)
    assert [row[0] for row in table(out)] == ["group", "head", "hidden_0", "total"]
    assert "kernel" not in out


def test_a_run_folder_and_its_export_need_no_data(jaxdl, run, tmp_path):
    file = tmp_path / "model.safetensors"
    jaxdl("export", "--workdir", run, "--output", file)
    for path in (run, file):
        code, out, _ = jaxdl("inspect", "--workdir", path, "--json", "--layers")
        found = json.loads(out)
        assert (code, found["total"], found["trainable"], found["bytes"]) == (0, COUNT, COUNT, 4 * COUNT)
        assert [row["name"] for row in found["parameters"]] == [
            "head/bias", "head/kernel", "hidden_0/bias", "hidden_0/kernel"
        ]  # fmt: skip
        assert found["parameters"][1]["shape"] == [32, 10]
        assert found["layers"]["flops"] == 2 * (64 * 32 + 32 * 10)


def test_running_statistics_are_told_apart(jaxdl, config):
    flag = "--config.model.normalization='batch'"
    _, out, _ = jaxdl("inspect", "--config", config, flag)
    assert "and 64 running statistics in batch_stats" in out
    _, out, _ = jaxdl("inspect", "--config", config, flag, "--json")
    assert json.loads(out)["model_state"] == 64


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "one of the arguments --config --workdir/--model is required"),
        (("--config", "CONFIG", "--workdir", "RUN"), 2, "not allowed with"),
        (("--config", "CONFIG", "--step", "last"), 2, "--step goes with --workdir"),
        (("--config", "CONFIG", "--config.frozen=('hiden/.*',)"), 2, "matches no parameter. The nearest names are"),
        (("--config", "CONFIG", "--config.mesh.data=3"), 2, "does not use 8 devices exactly"),
        (("--config", "CONFIG", "--depth", "0"), 2, "at least 1"),
        (("--workdir", "RUN", "--config.steps=1"), 2, "flags go with --config"),
        (("--workdir", "nowhere"), 66, "nowhere"),
    ],
)
def test_what_cannot_be_looked_at_is_said(jaxdl, config, run, words, code, message):
    paths = {"CONFIG": config, "RUN": run}
    found, _, err = jaxdl("inspect", *(paths[word] if word in paths else word for word in words))
    assert found == code
    assert message in err


def test_a_whole_learner_has_no_layers(jaxdl, tmp_path):
    path = tmp_path / "whole.py"
    path.write_text(
        """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.learners import supervised
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Experiment

def get_config():
    learner = spec(
        supervised, model=spec(MLP, num_classes=10, widths=(4,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam)),
    )
    return spec(
        Experiment, steps=1, learner=learner,
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64),
    )
"""
    )
    code, out, _ = jaxdl("inspect", "--config", path)
    assert code == 0
    assert "hidden_0/kernel" in out
    code, _, err = jaxdl("inspect", "--config", path, "--layers")
    assert code == 2
    assert "whole `learner`" in err
