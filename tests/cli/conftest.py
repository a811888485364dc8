"""One run, trained by the command line, that many tests look at."""

import os
import sys

import jax
import pytest

from jaxdl.cli import main

CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

def get_config(width="32"):
    return spec(
        Experiment, steps=120, log_every=20, tensorboard=False, steps_per_dispatch=1,
        model=spec(MLP, num_classes=10, widths=(int(width),)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=40),
            "train_set": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="train"), batch_size=240)),
        },
        saving=spec(Saving, every=40, best="test/accuracy", mode="max", keep=3),
    )
"""


@pytest.fixture(autouse=True)
def _this_process_only(monkeypatch):
    """Commands in this process leave the tests' compile cache, memory and import path as they are."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("MALLOC_ARENA_MAX", os.environ.get("MALLOC_ARENA_MAX", "8"))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def run(config, tmp_path_factory):
    """A run folder."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    patch.setenv("MALLOC_ARENA_MAX", "8")
    code = main(["train", "--config", str(config), "--workdir", str(folder), "--quiet"])
    patch.undo()
    assert code == 0
    return folder


@pytest.fixture
def jaxdl(capsys):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def command(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return command
