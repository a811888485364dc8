"""Training: experiments, the loop, hooks and runs."""

from jaxdl.train.experiment import Evaluation, Experiment, Saving, assemble
from jaxdl.train.hooks import CheckReplicas, EarlyStopping, Plateau
from jaxdl.train.loop import Hook, Moment, fit
from jaxdl.train.run import Outcome, train

__all__ = [
    "CheckReplicas",
    "EarlyStopping",
    "Evaluation",
    "Experiment",
    "Hook",
    "Moment",
    "Outcome",
    "Plateau",
    "Saving",
    "assemble",
    "fit",
    "train",
]
