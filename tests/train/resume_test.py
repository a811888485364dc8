"""A run that was killed ends with the same bits as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.checkpoint import restore_part
from jaxdl.errors import Preempted
from jaxdl.train.writers import read_rows

CONFIG = """
from jaxdl.augment import RandomCrop
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import LeNet
from jaxdl.optim import adam, cosine, optimizer, reduce_on_plateau
from jaxdl.tasks import Classification
from jaxdl.train import EarlyStopping, Evaluation, Experiment, Plateau, Saving

def get_config(size="1"):
    steps = ref(60)
    return spec(
        Experiment, steps=steps, log_every=7, ema_decay=0.9, microbatches=2, steps_per_dispatch=int(size),
        model=spec(LeNet, num_classes=10, channels=(4,), dense_width=16, dropout_rate=0.2, batch_norm=True),
        task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), weight_decay=0.01, clip_norm=1.0,
                       plateau=spec(reduce_on_plateau, patience=1, threshold=0.5),
                       learning_rate=spec(cosine, peak=3e-3, steps=steps, warmup_steps=5)),
        augment=spec(RandomCrop, padding=1),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=32),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=15)
        },
        hooks=(spec(EarlyStopping, metric="test/loss", mode="min", patience=50), spec(Plateau, metric="test/loss")),
        saving=spec(Saving, every=10, best="test/accuracy", mode="max"), tensorboard=False,
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(CONFIG)
    return path


def start(config, workdir, size=1, steps=60):
    flags = [f"--config={config}:{size}", f"--config.steps={steps}", f"--workdir={workdir}", "--quiet"]
    cache = Path(config).parent / "cache"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "jaxdl", "train", *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(config, workdir, **settings):
    process = start(config, workdir, **settings)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def final(workdir, steps=60):
    """Every leaf of the last state as bytes, and the log without its times."""
    state = restore_part(workdir / "checkpoints", ".*", step=steps).state
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in read_rows(workdir / "metrics.jsonl")]
    assert len({(row["step"], row["kind"]) for row in rows}) == len(rows)
    return leaves, rows


def wait_for_rows(workdir, process, began, number, seconds=120):
    """Waits until this process, not one before it, has written so many training rows."""
    path, deadline = workdir / "metrics.jsonl", time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        rows = read_rows(path) if path.exists() else []
        if sum(row["kind"] == "train" and row["time"] >= began for row in rows) >= number:
            return
        time.sleep(0.002)
    pytest.fail(f"the run ended or stood still before it wrote {number} rows: {process.communicate(timeout=60)[1]}")


def kill_and_finish(config, workdir, kills, seed, **settings):
    """Kills runs at random moments after they have begun to train, then lets one end."""
    generator = random.Random(seed)
    for _ in range(kills):
        began = time.time() - 0.001  # Rows round their time to milliseconds.
        process = start(config, workdir, **settings)
        wait_for_rows(workdir, process, began, generator.choice([1, 1, 2]))
        time.sleep(generator.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
    finish(config, workdir, **settings)


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    finish(config, workdir)
    return final(workdir)


def test_killed_runs_end_with_the_same_bits_and_log(config, tmp_path, uninterrupted):
    kill_and_finish(config, tmp_path, 2, seed=2)
    leaves, rows = final(tmp_path)
    assert rows == uninterrupted[1]
    assert leaves == uninterrupted[0]
    assert not list((tmp_path / "checkpoints").glob("tmp-*"))


def test_sigterm_saves_at_once_and_exits_with_its_code(config, tmp_path, uninterrupted):
    began = time.time() - 0.001
    process = start(config, tmp_path)
    wait_for_rows(tmp_path, process, began, 2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == Preempted.exit_code == 75, errors
    assert "run the same command to go on" in errors
    rows = read_rows(tmp_path / "metrics.jsonl")
    newest = max(int(path.name) for path in (tmp_path / "checkpoints").glob("0*"))
    assert newest >= max(row["step"] for row in rows) >= 14
    finish(config, tmp_path)
    assert final(tmp_path) == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kills"), [(1, 20), (8, 10)])
def test_many_kills_leave_the_same_bits_and_log(config, tmp_path, tmp_path_factory, size, kills):
    straight = tmp_path_factory.mktemp(f"straight{size}")
    settings = {"size": size, "steps": 400}
    finish(config, straight, **settings)
    kill_and_finish(config, tmp_path, kills, seed=kills, **settings)
    assert final(tmp_path, 400) == final(straight, 400)


def test_a_changed_config_is_refused_and_a_longer_one_goes_on(config, tmp_path):
    def run(*flags):
        command = [sys.executable, "-m", "jaxdl", "train", f"--config={config}", f"--workdir={tmp_path}", *flags]
        environment = {**os.environ, "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(Path(config).parent / "cache")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert run("--config.steps=10").returncode == 0
    refused = run("--config.steps=10", "--config.task.label_smoothing=0.1")
    assert refused.returncode == 2
    assert "task.label_smoothing: 0.0 -> 0.1" in refused.stderr
    refused = run("--config.steps=10", "--config.model.dense_width=8", "--allow-changes")
    assert refused.returncode == 66
    assert "dense_width" not in refused.stderr
    assert "hidden/kernel" in refused.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["step"] == 10
