import dataclasses
import json
import math
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.checkpoint import restore_part
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, digits
from jaxdl.errors import CheckpointError, WorkdirError
from jaxdl.learners import Precision, supervised
from jaxdl.metrics import Mean
from jaxdl.models import MLP
from jaxdl.train import Evaluation, Saving, train
from jaxdl.train.folder import open_run
from jaxdl.train.writers import read_rows


def leaves(state):
    return [np.asarray(x) for x in jax.tree.leaves(state.params)]


def assert_same_bits(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def straight(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(
        experiment(saving=Saving(every=10, keep=9, best="test/accuracy", mode="max")), folder, quiet=True
    )


def test_the_run_folder_holds_what_it_should(straight):
    folder, outcome = straight
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names >= {"checkpoints", "metrics.jsonl", "run.json", "summary.json"}
    assert "tensorboard" not in names
    facts = json.loads((folder / "run.json").read_text())
    assert facts["labels"] == list("0123456789")
    assert facts["example"]["image"] == {"shape": [8, 8, 1], "dtype": "uint8"}
    assert (facts["averaged"], facts["best"], facts["mode"]) == (False, "test/accuracy", "max")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == {"step": 40, "stopped": None, "results": dict(outcome.results)}
    assert sorted(path.name for path in (folder / "checkpoints").glob("0*")) == [f"{s:08d}" for s in (10, 20, 30, 40)]


def test_rows_are_strict_json_and_cover_training_and_evaluation(straight):
    def refuse(text):
        raise AssertionError(f"{text} is not strict JSON")

    lines = (straight[0] / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [(row["step"], row["kind"]) for row in rows] == [
        (10, "train"), (20, "train"), (20, "test"), (30, "train"), (40, "train"), (40, "test"),
    ]  # fmt: skip
    train_row, test_row = rows[0], rows[2]
    assert train_row.keys() >= {"loss", "accuracy", "grad_norm", "skipped", "learning_rate", "epoch", "time"}
    assert train_row["epoch"] == pytest.approx(640 / 1437)
    assert train_row["time/examples_per_second"] == pytest.approx(64 * train_row["time/steps_per_second"])
    assert "confusion" not in test_row
    assert rows[-1]["accuracy"] == straight[1].results["test/accuracy"]


def test_without_a_folder_nothing_is_written_and_the_result_is_the_same(experiment, straight, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_same_bits(train(experiment(), quiet=True).state, straight[1].state)
    assert list(tmp_path.iterdir()) == []


def test_results_are_exact_under_padding(straight, experiment):
    source = digits(split="test")
    outcome = straight[1]
    learner = supervised(experiment().model, experiment().task, optax.identity())
    batch = {**source.arrays, "mask": np.ones(360, np.float32)}
    outputs = np.asarray(learner.predict(jax.device_get(outcome.state), batch))
    accuracy = np.mean(outputs.argmax(-1) == source.arrays["label"])
    assert outcome.results["test/accuracy"] == pytest.approx(accuracy, abs=1e-7)
    for size in (8, 112, 1000):
        data = Pipeline(source=source, batch_size=size)
        found = train(experiment(evals={"test": Evaluation(data=data)}), quiet=True).results
        assert found == pytest.approx(outcome.results, rel=1e-5)


def test_progress_is_told_and_quiet_is_quiet(experiment, capsys):
    train(experiment(steps=20))
    told = capsys.readouterr()
    assert told.out == ""
    for text in ("1,210 parameters", "Compiled the step in", "step 20  test: accuracy", "step 20/20  loss"):
        assert text in told.err
    train(experiment(steps=2), quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_finished_run_is_not_trained_again_and_a_longer_one_goes_on(experiment, tmp_path, straight):
    for _ in range(2):
        first = train(experiment(steps=20), tmp_path, quiet=True)
        assert first.step == 20
    rows = (tmp_path / "metrics.jsonl").read_text()
    assert rows.count('"kind": "test"') == 1
    assert_same_bits(train(experiment(), tmp_path, quiet=True).state, straight[1].state)


def test_a_run_killed_before_its_first_checkpoint_begins_again(experiment, tmp_path, straight):
    def die(moment):
        if moment.step == 12:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(experiment(hooks=(die,)), tmp_path, quiet=True)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] in ([], [10])
    assert_same_bits(train(experiment(), tmp_path, quiet=True).state, straight[1].state)
    steps = [(row["step"], row["kind"]) for row in read_rows(tmp_path / "metrics.jsonl")]
    assert steps == [(10, "train"), (20, "train"), (20, "test"), (30, "train"), (40, "train"), (40, "test")]


def test_a_corrupt_checkpoint_is_set_aside_and_the_older_one_gives_the_same_end(experiment, tmp_path, straight, capsys):
    saving = Saving(every=10)
    train(experiment(steps=30, saving=saving), tmp_path, quiet=True)
    newest = tmp_path / "checkpoints" / "00000030"
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.write_bytes(content)
    outcome = train(experiment(saving=saving), tmp_path)
    told = capsys.readouterr().err
    assert "Warning: Checkpoint 30 is corrupt and was set aside" in told
    assert "Resumed from step 20 (verified)." in told
    assert_same_bits(outcome.state, straight[1].state)
    assert (tmp_path / "checkpoints" / "corrupt-30").is_dir()
    assert (tmp_path / "checkpoints" / "00000030").is_dir()


def test_the_best_and_the_newest_checkpoints_stay(experiment, tmp_path):
    data = experiment().evals["test"].data
    changed = experiment(
        evals={"test": Evaluation(data=data, every=4)}, saving=Saving(every=100, keep=1, best="test/loss", mode="max")
    )
    train(changed, tmp_path, quiet=True)
    losses = {row["step"]: row["loss"] for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "test"}
    worst = max(losses, key=losses.get)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").glob("0*")) == sorted({worst, 40})


def test_another_model_is_refused_and_the_run_folder_still_describes_its_checkpoints(experiment, tmp_path):
    train(experiment(steps=2), tmp_path, record={"config.json": "old"}, quiet=True)
    with pytest.raises(CheckpointError, match=r"does not fit this run.*\n(.*\n)*.*kernel"):
        train(experiment(model=MLP(num_classes=10, widths=(8,))), tmp_path, record={"config.json": "new"}, quiet=True)
    assert (tmp_path / "config.json").read_text() == "old"


def test_one_run_at_a_time(experiment, tmp_path):
    with open_run(tmp_path), pytest.raises(WorkdirError) as caught:
        train(experiment(), tmp_path, quiet=True)
    assert caught.value.exit_code == 74
    code = (
        f"from jaxdl.train.folder import open_run\nwith open_run({str(tmp_path)!r}): print('open', flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "open\n"
    with pytest.raises(WorkdirError, match=str(other.pid)):
        train(experiment(), tmp_path, quiet=True)
    other.communicate("\n")
    assert train(experiment(steps=1), tmp_path, quiet=True).step == 1


def test_a_folder_that_cannot_be_made_is_refused(experiment, tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WorkdirError, match="cannot be written by user"):
            train(experiment(), workdir, quiet=True)


@pytest.mark.parametrize("name", ["with space", "ünïcode-数字", "a/b/c"])
def test_any_folder_name_will_do_relative_too(experiment, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    train(experiment(steps=1), name, quiet=True)
    assert train(experiment(steps=2), name, quiet=True).step == 2
    assert (tmp_path / name / "metrics.jsonl").exists()


def test_tensorboard_files_are_a_choice(experiment, tmp_path):
    train(experiment(steps=2, tensorboard=True, log_every=1), tmp_path, quiet=True)
    files = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len(files) == 1
    assert b"train/loss" in files[0].read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"precision": Precision(compute="bfloat16")}, marks=pytest.mark.slow),
        {"precision": Precision(params="bfloat16", compute="bfloat16")},
        pytest.param({"microbatches": 4}, marks=pytest.mark.slow),
        pytest.param({"ema_decay": 0.9}, marks=pytest.mark.slow),
        pytest.param({"remat": "full"}, marks=pytest.mark.slow),
        {"mapping": "pmap"},
        {"mesh": {"data": 2, "fsdp": 4}},
        {"frozen": ("hidden.*",)},
    ],
    ids=str,
)
def test_every_way_of_training_learns_saves_and_resumes(experiment, tmp_path, changes):
    names = restored_names(experiment)
    if "frozen" in changes:
        changes = {"frozen": (names[0],)}
    train(experiment(steps=20, **changes), tmp_path, quiet=True)
    outcome = train(experiment(steps=40, **changes), tmp_path, quiet=True)
    rows = [row for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert outcome.results["test/accuracy"] > 0.3


def restored_names(experiment):
    from jaxdl import trees
    from jaxdl.train.program import prepare

    return trees.names(prepare(experiment(steps=1)).state.params)


def test_frozen_parameters_stay(experiment):
    name = restored_names(experiment)[0]
    before = train(experiment(steps=1, frozen=(name,)), quiet=True).state
    after = train(experiment(steps=9, frozen=(name,)), quiet=True).state
    same = [np.array_equal(a, b) for a, b in zip(leaves(before), leaves(after), strict=True)]
    assert same[0]
    assert not any(same[1:])


def test_results_are_those_of_the_average(experiment, tmp_path):
    outcome = train(experiment(ema_decay=0.99), tmp_path, quiet=True)
    saved = restore_part(tmp_path / "checkpoints", "extras/average/params").state["extras"]["average"]["params"]
    averaged = jax.tree.leaves(outcome.state.extras["average"]["params"])
    for a, b, now in zip(jax.tree.leaves(saved), averaged, leaves(outcome.state), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, now)
    plain = train(experiment(), quiet=True)
    assert_same_bits(plain.state, outcome.state)
    assert plain.results["test/loss"] != outcome.results["test/loss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """A task of its own: whether a digit is odd."""

    def inputs(self, batch):
        return {"pixels": jnp.asarray(batch["image"], jnp.float32).reshape(len(batch["image"]), -1) / 255}

    def score(self, outputs, batch):
        odd = jnp.asarray(batch["label"] % 2, jnp.float32)
        return Mean.of(optax.sigmoid_binary_cross_entropy(outputs, odd), batch["mask"]), self.measure(outputs, batch)

    def measure(self, outputs, batch):
        return {"right": Mean.of((outputs > 0) == (batch["label"] % 2 == 1), batch["mask"])}


class Linear(nn.Module):
    """A model of its own."""

    @nn.compact
    def __call__(self, pixels, *, train):
        return nn.Dense(1, name="out")(pixels)[:, 0]


def test_a_model_a_task_and_an_optimizer_from_elsewhere(experiment, tmp_path):
    changed = experiment(
        model=Linear(),
        task=Parity(),
        optimizer=optax.adam(1e-2),
        saving=Saving(best="test/right", mode="max"),
        steps=60,
    )
    outcome = train(changed, tmp_path, quiet=True)
    assert outcome.results.keys() == {"test/loss", "test/right"}
    assert outcome.results["test/right"] > 0.7
    row = read_rows(tmp_path / "metrics.jsonl")[0]
    assert "right" in row
    assert "learning_rate" not in row


def test_a_whole_learner_and_wrappers(experiment):
    base = experiment()
    learner = supervised(base.model, base.task, base.optimizer)

    def named(learner):
        def step(state, batch):
            state, metrics = learner.step(state, batch)
            return state, {**metrics, "rows": Mean.of(jnp.sum(batch["mask"]))}

        return learner._replace(step=step)

    seen = []
    hook = lambda moment: seen.append(float(moment.metrics["rows"].compute()))  # noqa: E731
    whole = experiment(model=None, task=None, optimizer=None, learner=learner, wrappers=(named,), hooks=(hook,))
    outcome = train(whole, quiet=True)
    assert seen == [64.0] * 40
    assert_same_bits(outcome.state, train(experiment(), quiet=True).state)


def test_hooks_may_be_plain_functions_and_objects_with_any_attributes(experiment, tmp_path):
    class Counter:
        state = "not a method"

        def __init__(self):
            self.steps = []

        def __call__(self, moment):
            self.steps.append(moment.step)

    class Remembering(Counter):
        def state(self):
            return {"steps": self.steps}

        def restore(self, state):
            self.steps = list(state["steps"])

    stop = lambda moment: moment._replace(stop="that is enough") if moment.step == 23 else None  # noqa: E731
    first = train(experiment(hooks=(Counter(), Remembering(), stop)), tmp_path, quiet=True)
    assert (first.step, first.stopped) == (23, "that is enough")
    assert json.loads((tmp_path / "summary.json").read_text())["stopped"] == "that is enough"
    assert first.results.keys() >= {"test/loss", "test/accuracy"}
    again = Remembering()
    assert train(experiment(hooks=(Counter(), again)), tmp_path, quiet=True).step == 23
    assert again.steps == list(range(1, 24))


def test_an_evaluation_smaller_than_its_batch_and_one_with_a_nan(experiment, tmp_path):
    small = ArraySource(arrays={name: x[:5] for name, x in digits(split="test").arrays.items()})
    outcome = train(
        experiment(steps=20, evals={"few": Evaluation(data=Pipeline(source=small, batch_size=120))}), quiet=True
    )
    assert round(outcome.results["few/accuracy"] * 5, 4) == round(outcome.results["few/accuracy"] * 5)

    def spoil(moment):
        return moment._replace(results={**moment.results, "test/loss": math.nan}) if moment.step == 20 else None

    spoilt = experiment(steps=20, hooks=(spoil,), saving=Saving(best="test/loss", mode="min"))
    train(spoilt, tmp_path, quiet=True)
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["results"]["test/loss"] == "NaN"
