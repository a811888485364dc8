"""A training that no longer moves is ended, and says where it was."""

import os
import subprocess
import sys
import time

import pytest

CONFIG = """
import threading

from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import optimizer, sgd
from jaxdl.tasks import Classification
from jaxdl.train import Experiment


class Stuck:
    '''A hook that never returns, in the second process where there are two.'''

    def __call__(self, moment):
        import jax

        if moment.step == 5 and jax.process_index() == jax.process_count() - 1:
            wait_for_ever()


def wait_for_ever():
    threading.Event().wait()


def get_config(kind="stuck"):
    return spec(
        Experiment, steps=30, steps_per_dispatch=1, tensorboard=False,
        model=spec(MLP, num_classes=10, widths=(8,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(sgd), learning_rate=1e-2),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=32),
        hooks=(spec(Stuck),) if kind == "stuck" else (),
    )
"""


@pytest.fixture
def train(tmp_path):
    """Trains with a limit of so many seconds; returns the exit code and what was printed."""
    (tmp_path / "small.py").write_text(CONFIG)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PYTEST_CURRENT_TEST")
    }

    def run(kind, seconds, *launch):
        words = [*launch, "train", "--config", f"small.py:{kind}", "--workdir", "run", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "jaxdl", *words, "--stall-seconds", str(seconds)],
            cwd=tmp_path, env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_stuck_run_ends_and_says_where(train):
    code, told = train("stuck", 3)
    assert code == 1
    assert "Timeout (0:00:03)!" in told
    assert "in wait_for_ever" in told


def test_a_run_that_moves_is_left_alone(train):
    began = time.monotonic()
    code, told = train("moving", 240)
    assert code == 0, told
    assert time.monotonic() - began < 240, "the clock ends with the run"


@pytest.mark.slow
def test_both_of_two_processes_end_where_one_is_stuck(train):
    code, told = train("stuck", 5, "launch", "local", "--processes", "2")
    assert code == 1, told
    assert "in wait_for_ever" in told
