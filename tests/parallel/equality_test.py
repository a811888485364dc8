"""One experiment gives the same numbers on one device and on eight, however it is spread."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxdl.augment import RandomCrop
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import LeNet
from jaxdl.optim import optimizer, sgd
from jaxdl.parallel import make_mesh
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, train
from jaxdl.train import program as programs

STEPS = 12


def experiment(**changes):
    base = Experiment(
        steps=STEPS,
        model=LeNet(num_classes=10, channels=(8, 16), dense_width=32, batch_norm=True),
        task=Classification(num_classes=10, label_smoothing=0.1),
        optimizer=optimizer(
            rule=sgd(momentum=0.9, nesterov=True), learning_rate=0.05, weight_decay=1e-3, clip_norm=1.0
        ),
        train=Pipeline(source=digits(split="train"), batch_size=64),
        evals={"test": Evaluation(data=Pipeline(source=digits(split="test"), batch_size=128))},
        log_every=1,
        steps_per_dispatch=1,
    )
    return dataclasses.replace(base, **changes)


def losses_and_state(monkeypatch, devices, **changes):
    monkeypatch.setattr(programs, "make_mesh", lambda axes: make_mesh(axes, jax.devices()[:devices]))
    rows = []
    monkeypatch.setattr(
        "jaxdl.train.reporter.Reporter.train_row", lambda self, step, values: rows.append(values["loss"])
    )
    outcome = train(experiment(**changes), quiet=True)
    return np.array(rows), jax.device_get(outcome.state.params), outcome


@pytest.fixture(scope="module")
def alone():
    with pytest.MonkeyPatch.context() as patch:
        return losses_and_state(patch, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh": {"data": 8}},
        {"mesh": {"fsdp": 8}},
        {"mesh": {"data": 2, "fsdp": 4}},
        {"mesh": {"data": 8}, "mapping": "pmap"},
        {"mesh": {"data": -1}, "resident": False},
        {"mesh": {"data": 4, "fsdp": -1}, "rules": ((".*kernel", "fsdp"), (".*", None))},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items())[:60],
)
def test_eight_devices_equal_one(monkeypatch, alone, changes):
    losses, params, one = alone
    many_losses, many_params, many = losses_and_state(monkeypatch, 8, **changes)
    assert len(many_losses) == STEPS
    np.testing.assert_allclose(many_losses, losses, rtol=2e-5)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(many_params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    np.testing.assert_allclose(many.results["test/loss"], one.results["test/loss"], rtol=1e-4)
    assert many.results["test/accuracy"] == pytest.approx(one.results["test/accuracy"], abs=1e-6)


def test_fully_sharded_parameters_are_split(monkeypatch):
    _, _, outcome = losses_and_state(monkeypatch, 8, mesh={"fsdp": 8}, steps=2)
    kernel = outcome.state.params["hidden"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 8
    momentum = [leaf for leaf in jax.tree.leaves(outcome.state.opt_state) if leaf.shape == kernel.shape]
    assert momentum
    assert momentum[0].sharding == kernel.sharding


def test_augmentation_and_dropout_do_not_depend_on_the_sharding(monkeypatch):
    changes = {"augment": RandomCrop(padding=1), "model": LeNet(num_classes=10, channels=(8,), dropout_rate=0.5)}
    losses, _, _ = losses_and_state(monkeypatch, 1, **changes)
    many_losses, _, _ = losses_and_state(monkeypatch, 8, mesh={"data": 4, "fsdp": 2}, **changes)
    np.testing.assert_allclose(many_losses, losses, rtol=2e-5)


def test_a_batch_that_does_not_split_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"train: a batch of 60 does not split over 8 devices; 64 does"):
        losses_and_state(monkeypatch, 8, train=Pipeline(source=digits(split="train"), batch_size=60))
