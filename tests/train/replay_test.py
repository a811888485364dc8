"""A step taken again has the bits of the log, and what is not finite in it is found."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.augment import RandomCrop
from jaxdl.checkpoint import committed_steps
from jaxdl.cli import main
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.errors import ConfigError, NonFiniteError
from jaxdl.models import LeNet
from jaxdl.optim import adam, optimizer, reduce_on_plateau
from jaxdl.train import Plateau, Saving, train
from jaxdl.train.replay import replay

MARK = 0.7654321


@dataclasses.dataclass(frozen=True)
class Spoil:
    """Makes every number of the marked images another one, on the device: on the host they would be refused."""

    value: float

    def __call__(self, key, batch):
        marked = (batch["image"] == jnp.float32(MARK)).any((1, 2, 3), keepdims=True)
        return {**batch, "image": jnp.where(marked, self.value, batch["image"])}


def with_record(experiment, indices, value, **changes):
    """The digits in their own order, some of them spoilt; batch 6 holds example 200."""
    arrays = experiment().train.source.arrays
    image = np.asarray(arrays["image"], np.float32) / 255
    image[indices, 3, 3] = MARK
    source = ArraySource(arrays={"image": image, "label": arrays["label"]}, name="numbers")
    settings = {"steps": 20, "evals": {}, "saving": Saving(every=5, keep=9), "log_every": 5, "augment": Spoil(value)}
    return experiment(**{**settings, "train": Pipeline(source=source, batch_size=32, shuffle=False), **changes})


@pytest.mark.usefixtures("here_on_one_device")
@pytest.mark.parametrize(("size", "parts"), [(1, 2), (4, 1)])
def test_a_poisoned_record_is_named_with_the_layer(experiment, tmp_path, size, parts):
    run = with_record(experiment, [200], 1.6e38, steps_per_dispatch=size, microbatches=parts)
    train(run, tmp_path, quiet=True)
    found = replay(run, tmp_path, 7)
    assert (found.batch, found.start) == (6, 5)
    assert (found.first.name, found.first.what, found.first.kind) == ("hidden_0", "output", "Dense")
    assert [found.examples[row].name for row in found.rows] == ["numbers, example 200"]
    assert found.rows == (8,)
    assert found.compared == (10,)
    assert found.differing == ()
    clean = replay(run, tmp_path, 14)
    assert clean.first is None
    assert (clean.start, clean.compared, clean.differing) == (10, (15,), ())


@pytest.mark.usefixtures("here_on_one_device")
def test_what_goes_into_the_model_is_looked_at_too(experiment, tmp_path):
    run = with_record(experiment, [33], np.nan, steps=5)
    train(run, tmp_path, quiet=True)
    found = replay(run, tmp_path, 2)
    assert (found.first.name, found.first.what) == ("", "input")
    assert found.rows == (1,)


def break_kernel(learner):
    """Makes one number of a parameter infinite at step 8."""

    def step(state, batch):
        after, metrics = learner.step(state, batch)
        kernel = after.params["head"]["kernel"]
        kernel = jnp.where(after.step == 8, kernel.at[2, 3].set(jnp.inf), kernel)
        return after.replace(params={**after.params, "head": {**after.params["head"], "kernel": kernel}}), metrics

    return learner._replace(step=step)


@pytest.mark.usefixtures("here_on_one_device")
def test_a_poisoned_parameter_is_named_and_no_checkpoint_holds_it(experiment, tmp_path):
    run = with_record(experiment, [0], 0.5, wrappers=(break_kernel,), nonfinite_limit=3)
    with pytest.raises(NonFiniteError, match=r"from step 9 on.*jaxdl replay --workdir .* --step 9`"):
        train(run, tmp_path, quiet=True)
    found = replay(run, tmp_path, 9)
    assert (found.first.name, found.first.what, found.first.stats.nonfinite) == ("head/kernel", "parameter", 1)
    assert len(found.rows) == 32
    assert found.start == 5
    assert committed_steps(tmp_path / "checkpoints") == [5]  # Infinite from step 8 on, so that 10 is not saved.
    layer = next(event for event in found.events if event.stats.nonfinite and event.what == "output")
    assert layer.name == "head"


@pytest.mark.usefixtures("here_on_one_device")
def test_a_loss_that_is_not_finite_though_the_outputs_are_is_laid_to_its_example(experiment, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Logarithm:
        task: object

        def inputs(self, batch):
            return {"image": batch["image"] * 0 + 0.5}

        def score(self, outputs, batch):
            loss, metrics = self.task.score(outputs, batch)
            odd = jnp.where(batch["image"].max((1, 2, 3)) > 1e3, jnp.inf, 0.0).sum()
            return loss.replace(total=loss.total + odd), metrics

        def measure(self, outputs, batch):
            return self.task.measure(outputs, batch)

    run = with_record(experiment, [70], 2e3, steps=5)
    run = dataclasses.replace(run, task=Logarithm(run.task))
    train(run, tmp_path, quiet=True)
    found = replay(run, tmp_path, 3)
    assert found.first.what == "loss"
    assert found.rows == (6,)


@pytest.mark.usefixtures("here_on_one_device")
@pytest.mark.parametrize(
    "steps",
    [((13, 10, (14,)),), pytest.param(((9, 0, (7, 14)), (24, 20, (21, 24))), marks=pytest.mark.slow)],
)
def test_everything_that_has_a_state_is_taken_up_again(experiment, tmp_path, steps):
    """Batch statistics, dropout, augmentation, averages, a plateau, windows that a checkpoint cuts."""
    run = experiment(
        steps=24,
        model=LeNet(num_classes=10, channels=(4,), dense_width=16, dropout_rate=0.2, batch_norm=True),
        optimizer=optimizer(
            rule=adam(), learning_rate=1e-2, plateau=reduce_on_plateau(patience=1, threshold=0.5), clip_norm=1.0
        ),
        augment=RandomCrop(padding=1),
        ema_decay=0.9,
        microbatches=2,
        hooks=(Plateau("test/loss"),),
        evals={"test": dataclasses.replace(experiment().evals["test"], every=4)},
        log_every=7,
        saving=Saving(every=10, keep=9),
    )
    train(run, tmp_path, quiet=True)
    for step, start, rows in steps:
        found = replay(dataclasses.replace(run, hooks=(Plateau("test/loss"),)), tmp_path, step)
        assert (found.start, found.compared, found.differing) == (start, rows, ())
        assert found.first is None


@pytest.mark.usefixtures("here_on_one_device")
def test_a_log_that_says_otherwise_is_noticed(experiment, tmp_path):
    run = with_record(experiment, [0], 0.5)
    train(run, tmp_path, quiet=True)
    path = tmp_path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["loss"] = float(np.nextafter(np.float32(rows[2]["loss"]), np.float32(9)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = replay(run, tmp_path, 13)
    assert [(step, name) for step, name, _, _ in found.differing] == [(15, "loss")]


@pytest.mark.usefixtures("here_on_one_device")
def test_either_side_of_a_roll_back_can_be_looked_at(experiment, tmp_path):
    run = with_record(experiment, 32 * np.arange(6, 9), 1.6e38, nonfinite_limit=3, rollbacks=1)
    train(run, tmp_path, quiet=True)
    after = replay(run, tmp_path, 7)
    assert (after.batch, after.first, after.compared, after.differing) == (10, None, (10,), ())
    before = replay(run, tmp_path, 7, rollbacks=0)
    assert (before.batch, before.first.name) == (6, "hidden_0")
    with pytest.raises(ConfigError, match="There is no roll-back 2"):
        replay(run, tmp_path, 7, rollbacks=2)


def test_what_cannot_be_replayed_is_refused(experiment, tmp_path):
    from jaxdl.train import assemble

    run = with_record(experiment, [0], 0.5)
    with pytest.raises(ConfigError, match="There is no step 21"):
        replay(run, tmp_path, 21)
    whole = dataclasses.replace(run, learner=assemble(run), model=None, optimizer=None)
    with pytest.raises(ConfigError, match="whole `learner`"):
        replay(whole, tmp_path, 1)


CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import optimizer, sgd
from jaxdl.tasks import Classification
from jaxdl.train import Experiment, Saving

def get_config():
    return spec(
        Experiment, steps=10, model=spec(MLP, num_classes=10, widths=(8,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(sgd), learning_rate=0.1), saving=spec(Saving, every=4, keep=9), log_every=4,
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64), tensorboard=False,
    )
"""


def test_the_command_prints_a_table_or_json(tmp_path, capsys):
    (tmp_path / "small.py").write_text(CONFIG)
    run = f"--workdir={tmp_path / 'run'}"
    assert main(["train", f"--config={tmp_path / 'small.py'}", run, "--quiet"]) == 0
    assert main(["replay", run, "--step=6"]) == 0
    text = capsys.readouterr().out
    assert "from the checkpoint of step 4" in text
    assert "The same bits as in the log, in the rows of step 8." in text
    assert "Everything is finite" in text
    assert main(["replay", run, "--step=6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["from_checkpoint"], found["finite"], found["log_differs"]) == (6, 4, True, [])
    assert {event["name"] for event in found["events"] if event["what"] == "output"} >= {"hidden_0", "head", ""}
    assert main(["replay", f"--workdir={tmp_path}", "--step=6"]) == 2
    assert "has no config.json" in capsys.readouterr().err
    (tmp_path / "run" / "rollbacks.json").write_text('[{"a": 1}]')
    assert main(["replay", run, "--step=6"]) == 74
    assert f"{tmp_path / 'run' / 'rollbacks.json'} is damaged: " in capsys.readouterr().err
    diverged = f"--workdir={tmp_path / 'diverged'}"
    flags = ["--config.optimizer.learning_rate=1e30", "--config.nonfinite_limit=3", "--quiet"]
    assert main(["train", f"--config={tmp_path / 'small.py'}", diverged, *flags]) == 70
    command = capsys.readouterr().err.split("`")[1].split()
    assert command[0] == "jaxdl"
    assert main(command[1:]) == 0
    assert "The first that is not finite" in capsys.readouterr().out
