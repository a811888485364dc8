"""Additive metrics of classification. Letters: B batch (or any leading axes), C classes, M bins."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl.metrics import confusion
from jaxdl.metrics.mean import Mean
from jaxdl.types import Array

Average = Literal["macro", "micro", "weighted"]


def class_of(labels: Array) -> jax.Array:
    """Class ids, int32: integer labels as they are, the likeliest class of soft labels `(..., C)`."""
    labels = jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        labels = jnp.argmax(labels, axis=-1)
    return labels.astype(jnp.int32)


def top_k_accuracy(logits_BC: Array, labels: Array, mask_B: Array | None = None, k: int = 1) -> Mean:
    """The share of examples whose class is among the `k` highest logits.

    Of equal logits the lower class ranks first, as with `argmax`. A NaN logit outranks all, and the class that it
    belongs to is never found; nor is a class id outside [0, C).

    >>> float(top_k_accuracy(jnp.array([[1.0, 3.0, 2.0]]), jnp.array([2]), k=2).compute())
    1.0

    Args:
      logits_BC: Scores of the classes, in any monotone scale.
      labels: Class ids `(...)`, or soft labels `(..., C)` of which the likeliest class counts.
      mask_B: Weight of each example; all count without it.
      k: How many classes may be named.
    """
    logits_BC, labels_B = jnp.asarray(logits_BC), class_of(labels)
    num_classes = logits_BC.shape[-1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"k must be between 1 and the number of classes, {num_classes}, not {k}.")
    valid_B = (labels_B >= 0) & (labels_B < num_classes)
    safe_B1 = jnp.where(valid_B, labels_B, 0)[..., None]
    classes_C = jnp.arange(num_classes, dtype=jnp.int32).reshape((1,) * labels_B.ndim + (-1,))
    own_B1 = jnp.sum(jnp.where(classes_C == safe_B1, logits_BC, 0), axis=-1, keepdims=True)
    # "not less or equal" counts a NaN on either side as a class that ranks higher.
    higher_BC = ~(logits_BC <= own_B1) | ((logits_BC == own_B1) & (classes_C < safe_B1))
    return Mean.of(valid_B & (jnp.sum(higher_BC, axis=-1) < k), mask_B)


class ConfusionMatrix(struct.PyTreeNode):
    """How often each class (row) was taken for each class (column): `counts` (C, C) int32, exact up to 2 ** 31 - 1."""

    counts: Array

    @classmethod
    def of(
        cls, predictions_B: Array, labels: Array, mask_B: Array | None = None, *, num_classes: int
    ) -> "ConfusionMatrix":
        """Counts each example `mask_B` times, a whole number; one with a class id outside [0, C) is left out.

        >>> ConfusionMatrix.of(jnp.array([1, 1]), jnp.array([0, 1]), num_classes=2).compute().tolist()
        [[0, 1], [0, 1]]
        """
        predictions_B, labels_B = class_of(predictions_B), class_of(labels)
        counted_B = (labels_B >= 0) & (labels_B < num_classes) & (predictions_B >= 0) & (predictions_B < num_classes)
        times_B = jnp.ones((), jnp.int32) if mask_B is None else jnp.asarray(mask_B).astype(jnp.int32)
        # Cells outside are dropped; a negative index would wrap around.
        cell_B = jnp.where(counted_B, labels_B * num_classes + predictions_B, num_classes**2).ravel()
        times_B = jnp.broadcast_to(times_B, labels_B.shape).ravel()
        counts = jnp.zeros(num_classes**2, jnp.int32).at[cell_B].add(times_B, mode="drop")
        return cls(counts=counts.reshape(num_classes, num_classes))

    def compute(self) -> jax.Array:
        """The counts (C, C), true classes in rows."""
        return jnp.asarray(self.counts)


class F1(struct.PyTreeNode):
    """The F1 score, kept as a confusion matrix (C, C) int32; `average` as in `jaxdl.metrics.confusion.f1`."""

    counts: Array
    average: Average = struct.field(pytree_node=False, default="macro")

    def compute(self) -> jax.Array:
        """The score, in [0, 1]."""
        return confusion.f1(self.counts, self.average)


class MatthewsCorrelation(struct.PyTreeNode):
    """Matthews' correlation coefficient for any number of classes (Gorodkin 2004), kept as a confusion matrix."""

    counts: Array

    def compute(self) -> jax.Array:
        """The coefficient, in [-1, 1]; zero where either side holds one class only."""
        return confusion.matthews_correlation(self.counts)


class CalibrationError(struct.PyTreeNode):
    """The expected calibration error (Guo et al. 2017, equation 3), kept as three sums per bin, each (M,) float32."""

    confidence: Array
    correct: Array
    weight: Array

    @classmethod
    def of(
        cls, probabilities_BC: Array, labels: Array, mask_B: Array | None = None, *, num_bins: int = 15
    ) -> "CalibrationError":
        """Sorts examples by the probability of their likeliest class into bins of equal width, open below.

        Args:
          probabilities_BC: Probabilities of the classes.
          labels: Class ids `(...)`, or soft labels `(..., C)` of which the likeliest class counts.
          mask_B: Weight of each example; all count without it.
          num_bins: M.
        """
        confidence = jnp.max(jnp.asarray(probabilities_BC, jnp.float32), axis=-1).ravel()
        correct = (jnp.argmax(probabilities_BC, axis=-1) == class_of(labels)).ravel().astype(jnp.float32)
        weight = jnp.ones_like(confidence) if mask_B is None else jnp.asarray(mask_B, jnp.float32).ravel()
        bins = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)
        empty = jnp.zeros(num_bins, jnp.float32)
        # A row of padding may hold NaN, which zero times does not remove.
        return cls(
            confidence=empty.at[bins].add(jnp.where(weight == 0, 0, confidence * weight)),
            correct=empty.at[bins].add(correct * weight),
            weight=empty.at[bins].add(weight),
        )

    def compute(self) -> jax.Array:
        """The mean distance of confidence and accuracy over the bins, weighted by their examples; zero of nothing."""
        gaps = jnp.abs(jnp.asarray(self.confidence) - jnp.asarray(self.correct))
        total = jnp.sum(jnp.asarray(self.weight))
        return jnp.sum(gaps) / jnp.where(total == 0, 1, total)
