"""Several real processes: they go back together, killed or not; the one that goes wrong is named, and ends them all."""

import json
import os
import re
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxdl.checkpoint import restore_part
from jaxdl.checkpoint.restore import committed_steps
from jaxdl.errors import DataError
from jaxdl.train.writers import read_rows

pytestmark = pytest.mark.slow

CONFIG = """
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, digits
from jaxdl.errors import DataError
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import CheckReplicas, Experiment, Saving

ROWS = 30


@dataclasses.dataclass(frozen=True)
class Poison:
    batches: tuple[int, ...]

    def __call__(self, key, batch):
        image = jnp.asarray(batch["image"], jnp.float32) / 255
        bad = jnp.isin(batch["number"] // ROWS, jnp.asarray(self.batches))
        return {**batch, "image": jnp.where(bad[:, None, None, None], jnp.nan, image)}


def numbered(without: tuple[int, ...] = ()) -> ArraySource:
    arrays = digits(split="train").arrays
    arrays = {**arrays, "number": np.arange(len(arrays["label"]))}
    kept = ~np.isin(arrays["number"] // ROWS, without)
    return ArraySource(arrays={name: array[kept] for name, array in arrays.items()})


@dataclasses.dataclass
class FlipAt:
    step: int
    process: int

    def __call__(self, moment):
        if moment.step != self.step:
            return None
        return moment._replace(state=moment.state.replace(params=jax.tree.map(self.flipped, moment.state.params)))

    def flipped(self, leaf):
        piece = np.array(leaf.addressable_shards[0].data)
        piece.view(np.uint32).flat[0] ^= np.uint32(jax.process_index() == self.process)
        here = jax.device_put(piece, leaf.addressable_shards[0].device)
        return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, [here])


@dataclasses.dataclass
class FailAt:
    step: int
    process: int

    def __call__(self, moment):
        if moment.step == self.step and jax.process_index() == self.process:
            raise DataError(f"process {self.process} cannot read example 17")


HOOKS = {
    "flip": (spec(FlipAt, step=6, process=1), spec(CheckReplicas, every=4)),
    "first": (spec(FailAt, step=11, process=0),),
    "second": (spec(FailAt, step=11, process=1),),
}


def get_config(what="back"):
    without = tuple(range(8, 15)) if what == "never" else ()
    return spec(
        Experiment, steps=24, log_every=4, steps_per_dispatch=1, nonfinite_limit=3, rollbacks=1,
        model=spec(MLP, num_classes=10, widths=(8,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=1e-3),
        train=spec(Pipeline, source=spec(numbered, without=without), batch_size=ROWS, shuffle=False),
        augment=spec(Poison, batches=(12, 13, 14) if what == "back" else ()),
        hooks=HOOKS[what] if what in HOOKS else (),
        saving=spec(Saving, every=8, keep=9), tensorboard=False,
    )
"""


@pytest.fixture
def jaxdl(tmp_path):
    """Runs a command beside the config file; the machine's one device per process."""
    (tmp_path / "small.py").write_text(CONFIG)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PYTEST_CURRENT_TEST")
    }
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}

    def run(*words):
        command = [sys.executable, "-m", "jaxdl", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)

    return run


def launch(processes, what, workdir):
    """The words that train as so many processes."""
    several = ["launch", "local", "--processes", processes] if processes > 1 else []
    return [*several, "train", "--config", f"small.py:{what}", "--workdir", workdir, "--quiet"]


def outcome_of(workdir):
    """Every leaf of the last state, and the logged losses."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(restore_part(workdir / "checkpoints", ".*").state)]
    return leaves, [row["loss"] for row in read_rows(workdir / "metrics.jsonl") if row["kind"] == "train"]


def test_two_processes_go_back_to_where_one_does(jaxdl, tmp_path):
    for processes, what in ((2, "back"), (2, "never"), (1, "back")):
        done = jaxdl(*launch(processes, what, tmp_path / f"{processes}{what}"))
        assert done.returncode == 0, done.stderr
    leaves, losses = outcome_of(tmp_path / "2back")
    expected, expected_losses = outcome_of(tmp_path / "2never")
    assert [leaf.tobytes() for leaf in leaves] == [leaf.tobytes() for leaf in expected]
    assert losses == expected_losses
    np.testing.assert_allclose(losses, outcome_of(tmp_path / "1back")[1], rtol=1e-4)
    records = [json.loads((tmp_path / name / "rollbacks.json").read_text()) for name in ("2back", "1back")]
    assert records[0] == records[1]
    assert [(record["step"], record["batch"]) for record in records[0]] == [(8, 15)]


def test_two_processes_that_go_back_may_be_killed_at_any_moment(jaxdl, tmp_path):
    words = ["--config", "small.py:back", "--processes", 2, "--kills", 6, "--verbose", "--workdir", tmp_path / "verify"]
    done = jaxdl("verify", "resume", *words)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(list((tmp_path / "verify").rglob("rollbacks.json"))) == 2, "both went back"


def test_the_process_whose_copy_differs_is_named(jaxdl, tmp_path):
    done = jaxdl(*launch(3, "flip", tmp_path / "run"))
    assert done.returncode not in (0, 75)
    assert "After step 8, the copies of 4 parameters are not the same bits" in done.stdout
    assert set(re.findall(r"of process (\d+)", done.stdout)) == {"1"}, done.stdout


@pytest.mark.parametrize(("what", "number"), [("first", 0), ("second", 1)])
def test_an_error_of_one_after_a_save_ends_both_and_is_told(what, number, jaxdl, tmp_path):
    began = time.monotonic()
    done = jaxdl(*launch(2, what, tmp_path / "run"))
    assert time.monotonic() - began < 120, "neither waits for the other for ever"
    assert done.returncode == DataError.exit_code, done.stdout
    assert f"process {number} cannot read example 17" in done.stdout
    assert committed_steps(tmp_path / "run" / "checkpoints") == [8], "what was saved before stays"


def test_two_processes_share_the_tensors_the_tokens_and_the_layers(jaxdl, tmp_path, request):
    config = f"{request.config.rootpath}/configs/language/zoo.py:llama"
    small = ["--config.steps=6", "--config.log_every=2", "--config.train.batch_size=8", "--config.tensorboard=false"]
    losses = {}
    for mesh in ("data", "tensor", "sequence", "stage"):
        several = [] if mesh == "data" else ["launch", "local", "--processes", 2]
        flags = [*small, f"--config.mesh={{{mesh}: -1}}", "--workdir", tmp_path / mesh, "--quiet"]
        done = jaxdl(*several, "train", "--config", config, *flags)
        assert done.returncode == 0, (done.stdout, done.stderr)
        losses[mesh] = [row["loss"] for row in read_rows(tmp_path / mesh / "metrics.jsonl") if row["kind"] == "train"]
    assert len(losses["data"]) == 3
    for mesh in ("tensor", "sequence", "stage"):
        np.testing.assert_allclose(losses[mesh], losses["data"], rtol=1e-5, err_msg=mesh)
