"""Losses, one value per element; `jaxdl.metrics.Mean` alone reduces them."""

from jaxdl.losses.classification import binary_cross_entropy, class_weight_of, cross_entropy
from jaxdl.losses.contrastive import info_nce
from jaxdl.losses.penalty import parameter_penalty
from jaxdl.losses.regression import huber, l1, l2
from jaxdl.losses.transcription import ctc, least_frames

__all__ = [
    "binary_cross_entropy",
    "class_weight_of",
    "cross_entropy",
    "ctc",
    "huber",
    "info_nce",
    "l1",
    "l2",
    "least_frames",
    "parameter_penalty",
]
