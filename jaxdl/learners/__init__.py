"""Learners: training algorithms as tuples of pure functions, and wrappers from learner to learner."""

from jaxdl.learners.guard import Spikes, checked, guarded, unguarded
from jaxdl.learners.learner import Learner, TrainState
from jaxdl.learners.precision import Precision
from jaxdl.learners.supervised import Task, supervised
from jaxdl.learners.wrappers import Augmentation, augmented, averaged, gathered, repeated

__all__ = [
    "Augmentation",
    "Learner",
    "Precision",
    "Spikes",
    "Task",
    "TrainState",
    "augmented",
    "averaged",
    "checked",
    "gathered",
    "guarded",
    "repeated",
    "supervised",
    "unguarded",
]
