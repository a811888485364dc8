"""Optimizers: update rules, schedules, weight decay and learning rates by name, freezing, plateaus."""

from jaxdl.optim.groups import merge, partition
from jaxdl.optim.multipliers import gradual_unfreezing, layerwise, unfreeze_at
from jaxdl.optim.muon import muon
from jaxdl.optim.optimizer import OptimizerState, learning_rate_at, optimizer
from jaxdl.optim.plateau import PlateauState, observe, reduce_on_plateau
from jaxdl.optim.rules import adadelta, adafactor, adagrad, adam, adamax, lamb, lion, nadam, radam, rmsprop, sgd
from jaxdl.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    linear,
    one_cycle,
    polynomial,
    step_decay,
    warmup_stable_decay,
)

__all__ = [
    "OptimizerState",
    "PlateauState",
    "Schedule",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "constant",
    "cosine",
    "exponential",
    "gradual_unfreezing",
    "inverse_sqrt",
    "lamb",
    "layerwise",
    "learning_rate_at",
    "linear",
    "lion",
    "merge",
    "muon",
    "nadam",
    "observe",
    "one_cycle",
    "optimizer",
    "partition",
    "polynomial",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "sgd",
    "step_decay",
    "unfreeze_at",
    "warmup_stable_decay",
]
