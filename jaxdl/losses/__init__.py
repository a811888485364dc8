"""Losses, one value per element; `jaxdl.metrics.Mean` alone reduces them."""

from jaxdl.losses.classification import binary_cross_entropy, class_weight_of, cross_entropy
from jaxdl.losses.penalty import parameter_penalty
from jaxdl.losses.regression import huber, l1, l2

__all__ = ["binary_cross_entropy", "class_weight_of", "cross_entropy", "huber", "l1", "l2", "parameter_penalty"]
