"""Learners: training algorithms as tuples of pure functions, and wrappers from learner to learner."""

from jaxdl.learners.learner import Learner, TrainState
from jaxdl.learners.precision import Precision
from jaxdl.learners.supervised import Task, supervised
from jaxdl.learners.wrappers import Augmentation, augmented, averaged, gathered, guarded, repeated

__all__ = [
    "Augmentation",
    "Learner",
    "Precision",
    "Task",
    "TrainState",
    "augmented",
    "averaged",
    "gathered",
    "guarded",
    "repeated",
    "supervised",
]
