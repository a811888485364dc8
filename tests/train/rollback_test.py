"""Going back: a run that went back is the run that never saw what it left out, and a kill changes nothing."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.checkpoint import committed_steps, restore_part
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.errors import CheckpointError, ConfigError, NonFiniteError, Preempted, WorkdirError
from jaxdl.learners import Spikes
from jaxdl.train import EarlyStopping, Saving, train
from jaxdl.train.folder import RunFolder
from jaxdl.train.hooks.preemption import INTERRUPTED
from jaxdl.train.rollback import Failure, RollBack, answer, batch_number, recorded, spans
from jaxdl.train.writers import read_rows

ROWS = 32


def back(step, batch):
    return RollBack(step=step, batch=batch, first=step + 1, last=step + 2, reason="")


@dataclasses.dataclass(frozen=True)
class Poison:
    """Multiplies the images of a batch that holds one of these examples, on the device."""

    numbers: tuple[int, ...]
    factor: float

    def __call__(self, key, batch):
        image = jnp.asarray(batch["image"], jnp.float32) / 255
        bad = jnp.isin(batch["number"], jnp.asarray(self.numbers or (-1,))).any()
        return {**batch, "image": jnp.where(bad, image * self.factor, image)}


def numbered(experiment, *, bad=(), without=range(0), factor=jnp.nan, **changes):
    """The digits in their own order, each with its number, some batches poisoned, and some taken out beforehand."""
    arrays = experiment().train.source.arrays
    arrays = {**arrays, "number": np.arange(len(arrays["label"]))}
    kept = ~np.isin(arrays["number"] // ROWS, list(without))
    source = ArraySource(arrays={name: array[kept] for name, array in arrays.items()})
    settings = {"steps": 24, "evals": {}, "saving": Saving(every=8, keep=9), "log_every": 4, "nonfinite_limit": 3}
    poison = Poison(tuple(ROWS * batch for batch in bad), float(factor))
    pipeline = Pipeline(source=source, batch_size=ROWS, shuffle=False)
    return experiment(**{**settings, "train": pipeline, "augment": poison, **changes})


def outcome_of(workdir):
    """Every leaf of the last state as bytes, and the log without its times."""
    state = restore_part(workdir / "checkpoints", ".*").state
    rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in read_rows(workdir / "metrics.jsonl")]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)], rows


def test_the_batch_of_a_step_is_that_of_the_latest_return():
    backs = (back(10, 14), back(10, 20), back(30, 55))
    assert [batch_number(step, ()) for step in (0, 7)] == [0, 7]
    assert [batch_number(step, backs) for step in (9, 10, 12, 29, 30, 31)] == [9, 20, 22, 39, 55, 56]
    assert list(spans(0, 40, backs)) == [(0, 10, 0), (10, 30, 20), (30, 40, 55)]
    assert list(spans(12, 30, backs)) == [(12, 30, 22)]
    assert list(spans(30, 40, backs)) == [(30, 40, 55)]
    assert [batch for first, stop, at in spans(5, 33, backs) for batch in range(at, at + stop - first)] == [
        batch_number(step, backs) for step in range(5, 33)
    ]


GOOD = {"step": 20, "batch": 29, "first": 27, "last": 29, "reason": "NaN"}
DAMAGED = {
    "no JSON": b"{",
    "not UTF-8": b"\xff[]",
    "nested": b"[" * 100_000,
    "no list": b"{}",
    "other fields": b'[{"a": 1}]',
    "no object": b"[3]",
    **{
        f"{name} {value!r}": json.dumps([GOOD, {**GOOD, name: value}]).encode()
        for name, value in [
            *(("step", value) for value in (-1, 27, 1.5, True, "20", None)),
            *(("batch", value) for value in (-1, 19, 10**13)),
            *(("first", 20), ("first", 30), ("last", 10**30), ("reason", None)),
        ]
    },
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_record_is_named(tmp_path, case):
    folder = RunFolder(tmp_path)
    assert folder.rollbacks() == ()
    (tmp_path / "rollbacks.json").write_text(json.dumps([GOOD]))
    assert folder.rollbacks() == (RollBack(**GOOD),)
    (tmp_path / "rollbacks.json").write_bytes(DAMAGED[case])
    with pytest.raises(WorkdirError, match=r"rollbacks\.json (is damaged|cannot be read): "):
        folder.rollbacks()


def test_a_checkpoint_s_damaged_record_is_told():
    assert recorded({}) == ()
    assert recorded({"rollbacks": [GOOD]}) == (RollBack(**GOOD),)
    for value in (None, {}, [1], [{**GOOD, "step": 29}]):
        with pytest.raises(CheckpointError, match="roll-backs is damaged: "):
            recorded({"rollbacks": value})


def test_the_devices_of_a_run_are_named_or_it_is_told(tmp_path):
    for text in ("{}", "[]", '{"devices": []}', '{"devices": [1]}', '{"devices": "cpu:0"}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(WorkdirError, match=r"run\.json does not say which devices"):
            RunFolder(tmp_path).devices()
    (tmp_path / "run.json").write_text('{"devices": ["cpu:0"]}')
    assert RunFolder(tmp_path).devices() == ["cpu:0"]


def test_a_return_leaves_out_all_from_the_kept_step_to_the_last_bad_one():
    first = answer(Failure(first=13, last=15, reason="NaN"), 8, ())
    assert (first.step, first.batch) == (8, 15)
    second = answer(Failure(first=9, last=11, reason="NaN"), 8, (first,))
    assert (second.step, second.batch) == (8, 18)
    at_once = answer(Failure(first=1, last=3, reason="NaN"), 8, ())
    assert (at_once.step, at_once.batch) == (0, 3)
    assert answer(Failure(first=17, last=19, reason="NaN"), 8, ()).step == 16
    assert answer(Failure(first=16, last=19, reason="NaN"), 8, ()).step == 8


@pytest.mark.usefixtures("here_on_one_device")
@pytest.mark.parametrize(("size", "resident"), [(1, None), (8, None), pytest.param(8, False, marks=pytest.mark.slow)])
def test_it_ends_as_if_what_it_left_out_had_never_been_there(experiment, tmp_path, size, resident):
    changes = {"steps_per_dispatch": size, "resident": resident}
    train(numbered(experiment, bad=(12, 13, 14), rollbacks=1, **changes), tmp_path / "back", quiet=True)
    train(numbered(experiment, without=range(8, 15), rollbacks=1, **changes), tmp_path / "never", quiet=True)
    (leaves, rows), (expected_leaves, expected_rows) = (outcome_of(tmp_path / name) for name in ("back", "never"))
    assert leaves == expected_leaves
    for row in (*rows, *expected_rows):
        row.pop("epoch")  # The data sets differ in length.
    assert rows == expected_rows
    (record,) = json.loads((tmp_path / "back" / "rollbacks.json").read_text())
    assert {name: record[name] for name in ("step", "batch", "first", "last")} == {
        "step": 8, "batch": 15, "first": 13, "last": 15,
    }  # fmt: skip
    assert "from step 13 on" in record["reason"]


def test_spikes_that_stay_are_gone_back_from_too(experiment, tmp_path):
    changes = {"spikes": Spikes(factor=4.0, window=4), "rollbacks": 1}
    train(numbered(experiment, bad=(12, 13, 14), factor=1e3, **changes), tmp_path / "back", quiet=True)
    train(numbered(experiment, without=range(8, 15), **changes), tmp_path / "never", quiet=True)
    assert outcome_of(tmp_path / "back")[0] == outcome_of(tmp_path / "never")[0]


@pytest.mark.usefixtures("here_on_one_device")
def test_before_the_first_checkpoint_it_goes_back_to_the_beginning(experiment, tmp_path):
    hooks = (EarlyStopping("test/loss", mode="min", patience=9),)
    evals = {"test": dataclasses.replace(experiment().evals["test"], every=1)}
    run = numbered(experiment, bad=(2, 3, 4), rollbacks=1, hooks=hooks, evals=evals, steps=8)
    train(run, tmp_path / "back", quiet=True)
    best = hooks[0].best
    hooks = (EarlyStopping("test/loss", mode="min", patience=9),)
    run = numbered(experiment, without=range(5), rollbacks=1, hooks=hooks, evals=evals, steps=8)
    train(run, tmp_path / "never", quiet=True)
    assert outcome_of(tmp_path / "back")[0] == outcome_of(tmp_path / "never")[0]
    assert hooks[0].best == best


class InterruptAt:
    """Does what a signal does, once."""

    def __init__(self, step):
        self.step = step

    def __call__(self, moment):
        if moment.step == self.step:
            self.step = None
            return moment._replace(stop=INTERRUPTED)
        return None


@pytest.mark.usefixtures("here_on_one_device")
@pytest.mark.parametrize("step", [11, 14, 15])
def test_an_interruption_before_or_while_it_goes_wrong_changes_nothing(experiment, tmp_path, step):
    run = numbered(experiment, bad=(12, 13, 14), rollbacks=1)
    train(run, tmp_path / "straight", quiet=True)
    interrupted = dataclasses.replace(run, hooks=(InterruptAt(step),))
    for _ in range(2):
        try:
            train(interrupted, tmp_path / "cut", quiet=True)
        except Preempted:
            continue
    assert outcome_of(tmp_path / "cut") == outcome_of(tmp_path / "straight")


@pytest.mark.usefixtures("here_on_one_device")
def test_whatever_checkpoint_a_killed_run_goes_on_from_the_end_is_the_same(experiment, tmp_path):
    run = numbered(experiment, bad=(4, 5, 6, 22, 23, 24), rollbacks=2, steps=32, saving=Saving(every=4, keep=99))
    train(run, tmp_path / "straight", quiet=True)
    expected = outcome_of(tmp_path / "straight")
    assert len(json.loads((tmp_path / "straight" / "rollbacks.json").read_text())) == 2
    for newest in (4, 16, 28):
        shutil.copytree(tmp_path / "straight", tmp_path / f"{newest}")
        for step in committed_steps(tmp_path / f"{newest}" / "checkpoints"):
            if step > newest:
                shutil.rmtree(tmp_path / f"{newest}" / "checkpoints" / f"{step:08d}")
        train(run, tmp_path / f"{newest}", quiet=True)
        assert outcome_of(tmp_path / f"{newest}") == expected


@pytest.mark.usefixtures("here_on_one_device")
def test_it_gives_up_after_so_many_returns(experiment, tmp_path):
    with pytest.raises(
        NonFiniteError, match=r"from step 9 on.*went back 2 times.*jaxdl replay --workdir .* --step 9"
    ) as caught:
        train(numbered(experiment, bad=range(12, 44), rollbacks=2), tmp_path, quiet=True)
    assert caught.value.exit_code == 70
    records = json.loads((tmp_path / "rollbacks.json").read_text())
    assert [(record["step"], record["batch"]) for record in records] == [(8, 15), (8, 18)]
    assert committed_steps(tmp_path / "checkpoints") == [8]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restore_part(tmp_path / "checkpoints").state))


def test_it_needs_a_run_folder(experiment):
    with pytest.raises(ConfigError, match="rollbacks=1 needs a run folder"):
        train(numbered(experiment, rollbacks=1), quiet=True)
    with pytest.raises(ValueError, match="`rollbacks` must be at least 0"):
        numbered(experiment, rollbacks=-1)


CONFIG = """
import dataclasses
import jax.numpy as jnp
import numpy as np
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import EarlyStopping, Evaluation, Experiment, Saving


@dataclasses.dataclass(frozen=True)
class Poison:
    number: int

    def __call__(self, key, batch):
        image = jnp.asarray(batch["image"], jnp.float32) / 255
        return {**batch, "image": jnp.where((batch["number"] == self.number).any(), jnp.nan, image)}


def numbered() -> ArraySource:
    arrays = digits(split="train").arrays
    return ArraySource(arrays={**arrays, "number": np.arange(len(arrays["label"]))})


def get_config():
    test = spec(Pipeline, source=spec(digits, split="test"), batch_size=120)
    return spec(
        Experiment, steps=120, log_every=5, ema_decay=0.9, steps_per_dispatch=2, nonfinite_limit=1, rollbacks=9,
        model=spec(MLP, num_classes=10, widths=(8,), dropout_rate=0.2), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=1e-3),
        train=spec(Pipeline, source=spec(numbered), batch_size=32), augment=spec(Poison, number=700),
        evals={"test": spec(Evaluation, data=test, every=15)},
        hooks=(spec(EarlyStopping, metric="test/loss", mode="min", patience=50),),
        saving=spec(Saving, every=10, best="test/loss", mode="min"), tensorboard=False,
    )
"""


def start(folder, workdir):
    flags = [f"--config={folder / 'small.py'}", f"--workdir={workdir}", "--quiet"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-m", "jaxdl", "train", *flags]
    return subprocess.Popen(command, env={**os.environ, **cache}, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def test_a_run_killed_after_it_went_back_ends_with_the_same_bits(tmp_path):
    (tmp_path / "small.py").write_text(CONFIG)
    finish(start(tmp_path, tmp_path / "straight"))
    backs = json.loads((tmp_path / "straight" / "rollbacks.json").read_text())
    assert len(backs) >= 2
    assert any(back["step"] > 0 for back in backs)
    process, deadline = start(tmp_path, tmp_path / "killed"), time.monotonic() + 120
    while not (tmp_path / "killed" / "rollbacks.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    finish(start(tmp_path, tmp_path / "killed"))
    assert outcome_of(tmp_path / "killed") == outcome_of(tmp_path / "straight")
    assert json.loads((tmp_path / "killed" / "rollbacks.json").read_text()) == backs
