"""Hooks of the training loop: what happens between steps."""

from jaxdl.train.hooks.early_stopping import EarlyStopping
from jaxdl.train.hooks.evaluate import Evaluate, Scheduled
from jaxdl.train.hooks.log import Log
from jaxdl.train.hooks.nonfinite import StopNonFinite
from jaxdl.train.hooks.plateau import Plateau
from jaxdl.train.hooks.preemption import StopOnSignal
from jaxdl.train.hooks.replicas import CheckReplicas
from jaxdl.train.hooks.save import Save

__all__ = [
    "CheckReplicas",
    "EarlyStopping",
    "Evaluate",
    "Log",
    "Plateau",
    "Save",
    "Scheduled",
    "StopNonFinite",
    "StopOnSignal",
]
