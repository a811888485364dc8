"""A small experiment on real data to vary."""

import dataclasses

import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving


@pytest.fixture(scope="session")
def experiment():
    """`experiment(steps=20, ...)`: the digits MLP with some fields changed."""
    base = Experiment(
        steps=40,
        model=MLP(num_classes=10, widths=(16,)),
        task=Classification(num_classes=10),
        optimizer=optimizer(rule=adam(), learning_rate=5e-3),
        train=Pipeline(source=digits(split="train"), batch_size=64),
        evals={"test": Evaluation(data=Pipeline(source=digits(split="test"), batch_size=120), every=20)},
        saving=Saving(every=20),
        log_every=10,
        steps_per_dispatch=1,
        tensorboard=False,
    )
    return lambda **changes: dataclasses.replace(base, **changes)
