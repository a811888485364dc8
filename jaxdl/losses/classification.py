"""Losses of classification. Letters: B batch (or any leading axes), C classes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.types import Array


def cross_entropy(
    logits_BC: Array, labels: Array, *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> jax.Array:
    """Softmax cross-entropy per example: `(..., C)` logits to `(...)` float32, computed in float32.

    A class id outside [0, C) gives NaN, for a guard to see; it never wraps around to another class.

    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
    Array([1.3862944], dtype=float32)

    Args:
      logits_BC: Unnormalised log-probabilities.
      labels: Class ids `(...)` of an integer type, or probabilities `(..., C)` of a floating type.
      label_smoothing: Share of the target that is spread evenly over all classes (Szegedy et al. 2016, section 7).
      class_weights: Weight of each class, C numbers. They multiply the terms of the sum over classes, as in PyTorch;
        divide the summed loss by the summed `class_weight_of` to get PyTorch's weighted mean.

    Raises:
      ValueError: the shapes or types of logits and labels do not belong together.
    """
    logits_BC = jnp.asarray(logits_BC, jnp.float32)
    labels = jnp.asarray(labels)
    _check_labels(logits_BC, labels)
    cost_BC = -jax.nn.log_softmax(logits_BC)
    if class_weights is not None:
        cost_BC = cost_BC * _weights(class_weights, logits_BC.shape)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        loss_B = _chosen(cost_BC, labels)
    else:
        loss_B = jnp.sum(cost_BC * labels, axis=-1)
    if label_smoothing:
        loss_B = (1 - label_smoothing) * loss_B + label_smoothing * jnp.mean(cost_BC, axis=-1)
    return loss_B


def binary_cross_entropy(
    logits: Array, labels: Array, *, label_smoothing: float = 0.0, positive_weights: Sequence[float] | None = None
) -> jax.Array:
    """Sigmoid cross-entropy of each element, in float32; `logits` and `labels` have one shape.

    >>> binary_cross_entropy(jnp.zeros(1), jnp.ones(1))
    Array([0.6931472], dtype=float32)

    Args:
      logits: Log-odds of the positive answer.
      labels: Probability of the positive answer, in [0, 1].
      label_smoothing: Share of the target that is replaced by one half.
      positive_weights: Weight of the positive answer for each element of the last axis (PyTorch's `pos_weight`).

    Raises:
      ValueError: the shapes differ.
    """
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.float32)
    if logits.shape != labels.shape:
        raise ValueError(f"Logits {logits.shape} and labels {labels.shape} must have one shape.")
    labels = (1 - label_smoothing) * labels + label_smoothing / 2
    positive = -jax.nn.log_sigmoid(logits) * labels
    if positive_weights is not None:
        positive = positive * _weights(positive_weights, logits.shape)
    return positive - jax.nn.log_sigmoid(-logits) * (1 - labels)


def class_weight_of(labels: Array, class_weights: Sequence[float]) -> jax.Array:
    """The weight of each example: that of its class, or the expected one under soft labels `(..., C)`.

    It is what the sum of a class-weighted `cross_entropy` is divided by. PyTorch divides by it for class ids, and by
    the number of examples for soft labels; here a one-hot label and its class id always agree.

    >>> class_weight_of(jnp.array([1, 0]), (1.0, 3.0))
    Array([3., 1.], dtype=float32)
    """
    labels = jnp.asarray(labels)
    weights_C = jnp.asarray(class_weights, jnp.float32)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        valid_B = (labels >= 0) & (labels < weights_C.size)
        return jnp.where(valid_B, weights_C[jnp.where(valid_B, labels, 0)], jnp.nan)
    return labels @ weights_C


def _chosen(values_BC: jax.Array, labels_B: jax.Array) -> jax.Array:
    """The value of each row's class; NaN where the class does not exist."""
    valid_B = (labels_B >= 0) & (labels_B < values_BC.shape[-1])
    classes_C = jnp.arange(values_BC.shape[-1], dtype=labels_B.dtype)
    # A masked sum fuses with its neighbours; the gradient of a gather is a scatter, which is slow on CPU.
    own_BC = labels_B[..., None] == classes_C.reshape((1,) * labels_B.ndim + (-1,))
    return jnp.where(valid_B, jnp.sum(jnp.where(own_BC, values_BC, 0), axis=-1), jnp.nan)


def _weights(weights: Sequence[float], shape: tuple[int, ...]) -> jax.Array:
    if len(weights) != shape[-1]:
        raise ValueError(f"There are {len(weights)} class weights for {shape[-1]} classes.")
    return jnp.asarray(weights, jnp.float32).reshape((1,) * (len(shape) - 1) + (-1,))


def _check_labels(logits_BC: jax.Array, labels: jax.Array) -> None:
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    if not hard and not jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(f"Labels must be class ids (integers) or probabilities (floats), not {labels.dtype}.")
    wanted = logits_BC.shape[:-1] if hard else logits_BC.shape
    if labels.shape != wanted:
        kind = "class ids" if hard else "probabilities"
        raise ValueError(f"Logits {logits_BC.shape} need {kind} of shape {wanted}, not {labels.shape}.")
