"""Scores that a confusion matrix (C, C) holds: true classes in rows, predicted ones in columns.

A class that never occurs, or is never predicted, has precision, recall and F1 zero where they are undefined; averages
run over the classes that occur on either side, as scikit-learn's do.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdl.types import Array

Average = Literal["macro", "micro", "weighted"]


def accuracy(counts: Array) -> jax.Array:
    """The share on the diagonal.

    >>> float(accuracy(jnp.array([[3, 1], [0, 4]])))
    0.875
    """
    counts = jnp.asarray(counts, jnp.float32)
    return _ratio(jnp.trace(counts), jnp.sum(counts))


def balanced_accuracy(counts: Array) -> jax.Array:
    """The mean recall of the classes that occur.

    >>> float(balanced_accuracy(jnp.array([[3, 1], [0, 4]])))
    0.875
    """
    counts = jnp.asarray(counts, jnp.float32)
    present = jnp.sum(counts, axis=1) > 0
    return _ratio(jnp.sum(jnp.where(present, recall(counts, None), 0)), jnp.sum(present))


def precision(counts: Array, average: Average | None = "macro") -> jax.Array:
    """The share of the predictions of a class that are right, averaged; per class (C,) when `average` is None.

    >>> precision(jnp.array([[3, 1], [0, 4]]), None)
    Array([1. , 0.8], dtype=float32)
    """
    counts = jnp.asarray(counts, jnp.float32)
    return _averaged(_ratio(jnp.diag(counts), jnp.sum(counts, axis=0)), counts, average)


def recall(counts: Array, average: Average | None = "macro") -> jax.Array:
    """The share of the examples of a class that are found, averaged; per class (C,) when `average` is None.

    >>> recall(jnp.array([[3, 1], [0, 4]]), None)
    Array([0.75, 1.  ], dtype=float32)
    """
    counts = jnp.asarray(counts, jnp.float32)
    return _averaged(_ratio(jnp.diag(counts), jnp.sum(counts, axis=1)), counts, average)


def f1(counts: Array, average: Average | None = "macro") -> jax.Array:
    """The harmonic mean of precision and recall, averaged; per class (C,) when `average` is None.

    >>> float(f1(jnp.array([[1, 0], [0, 1]])))
    1.0
    """
    counts = jnp.asarray(counts, jnp.float32)
    return _averaged(_ratio(2 * jnp.diag(counts), jnp.sum(counts, axis=0) + jnp.sum(counts, axis=1)), counts, average)


def matthews_correlation(counts: Array) -> jax.Array:
    """The correlation of true and predicted classes (Gorodkin 2004); zero when either side has one class only.

    >>> float(matthews_correlation(jnp.array([[0, 1], [1, 0]])))
    -1.0
    """
    share, true, predicted = _shares(counts)
    covariance = jnp.trace(share) - jnp.sum(true * predicted)
    return _ratio(covariance, jnp.sqrt((1 - jnp.sum(true**2)) * (1 - jnp.sum(predicted**2))))


def cohen_kappa(counts: Array) -> jax.Array:
    """The agreement of true and predicted classes beyond chance (Cohen 1960).

    >>> float(cohen_kappa(jnp.array([[2, 0], [0, 2]])))
    1.0
    """
    share, true, predicted = _shares(counts)
    chance = jnp.sum(true * predicted)
    return _ratio(jnp.trace(share) - chance, 1 - chance)


def _shares(counts: Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    counts = jnp.asarray(counts, jnp.float32)
    share = _ratio(counts, jnp.sum(counts))
    return share, jnp.sum(share, axis=1), jnp.sum(share, axis=0)


def _averaged(values_C: jax.Array, counts: jax.Array, average: Average | None) -> jax.Array:
    true_C, predicted_C = jnp.sum(counts, axis=1), jnp.sum(counts, axis=0)
    match average:
        case None:
            return values_C
        case "macro":
            occurs_C = (true_C + predicted_C) > 0
            return _ratio(jnp.sum(jnp.where(occurs_C, values_C, 0)), jnp.sum(occurs_C))
        case "weighted":
            return _ratio(jnp.sum(values_C * true_C), jnp.sum(true_C))
        case "micro":
            return accuracy(counts)
    raise ValueError(f"average must be 'macro', 'micro', 'weighted' or None, not {average!r}.")


def _ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    return jnp.where(denominator == 0, 0.0, numerator / jnp.where(denominator == 0, 1, denominator))
