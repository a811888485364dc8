"""Muon: momentum made orthogonal, for matrices and convolutions."""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.trees import map_named
from jaxdl.types import Array, PyTree


class MuonState(NamedTuple):
    """The running mean of the gradients."""

    momentum: PyTree


def muon(
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    iterations: int = 5,
    coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    scaling: Literal["width", "rms"] = "width",
    adam_names: tuple[str, ...] = (),
    b1: float = 0.9,
    b2: float = 0.999,
    adam_eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Muon for matrices (Jordan et al., 2024), Adam for everything else.

    Parameters with two or more axes are taken as matrices: all axes but the last are inputs, so that a convolution
    (h, w, in, out) becomes (h * w * in, out). Vectors, scalars and the parameters in `adam_names` go to Adam. Both
    share the learning rate; `learning_rate_multipliers` of `optimizer` set them apart.

    Equal to `torch.optim.Muon` (which takes only matrices, (out, in)) but for the precision: torch iterates in
    bfloat16, this in float32. `optax.contrib.muon` also corrects the bias of the momentum, which changes the first
    few dozen steps, and leaves convolutions to Adam.

    Args:
      momentum: Decay of the running mean of the gradients.
      nesterov: Look ahead along the momentum.
      iterations: Newton-Schulz iterations.
      coefficients: Of the quintic polynomial that is iterated.
      eps: The least norm that is divided by.
      scaling: `"width"` multiplies by `sqrt(max(1, out / in))` (Jordan et al.), `"rms"` by `0.2 sqrt(max(in, out))`
        (Liu et al., 2025, equation 4), which suits learning rates and weight decays made for Adam.
      adam_names: Regular expressions over whole names, such as embeddings and the last layer, which the authors
        leave to Adam. One that matches nothing is an error.
      b1: Adam's.
      b2: Adam's.
      adam_eps: Adam's `eps`.
    """
    if scaling not in ("width", "rms"):
        raise ValueError(f"scaling is {scaling!r}; it must be 'width' or 'rms'.")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum!r}; it must be in [0, 1).")

    def direction(gradient: jax.Array, mean: jax.Array) -> jax.Array:
        ahead = (1 - momentum) * gradient + momentum * mean if nesterov else mean
        matrix = ahead.reshape(-1, ahead.shape[-1])
        inputs, outputs = matrix.shape
        scale = math.sqrt(max(1, outputs / inputs)) if scaling == "width" else 0.2 * math.sqrt(max(inputs, outputs))
        return scale * orthogonalize(matrix, coefficients, iterations, eps).reshape(ahead.shape)

    def init(params: PyTree) -> MuonState:
        return MuonState(momentum=optax.tree.zeros_like(params))

    def update(updates: PyTree, state: MuonState, params: PyTree | None = None) -> tuple[PyTree, MuonState]:
        del params
        means = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, state.momentum, updates)
        return jax.tree.map(direction, updates, means), MuonState(momentum=means)

    return optax.partition(
        {"muon": optax.GradientTransformation(init, update), "adam": optax.scale_by_adam(b1, b2, adam_eps)},
        lambda params: _labels(params, adam_names),
    )


def orthogonalize(
    matrix: Array, coefficients: tuple[float, float, float], iterations: int, eps: float = 1e-7
) -> jax.Array:
    """Moves the singular values of a matrix (M, N) towards 1 by Newton-Schulz iterations of an odd quintic."""
    wide = jnp.asarray(matrix) if matrix.shape[0] <= matrix.shape[1] else jnp.asarray(matrix).T
    a, b, c = coefficients
    wide = wide / jnp.maximum(jnp.linalg.norm(wide), eps)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _labels(params: PyTree, adam_names: Sequence[str]) -> PyTree:
    used: set[str] = set()

    def label(name: str, leaf: Array) -> str:
        matching = [pattern for pattern in adam_names if re.fullmatch(pattern, name)]
        used.update(matching)
        return "adam" if matching or leaf.ndim < 2 else "muon"

    labels = map_named(label, params)
    unused = [pattern for pattern in adam_names if pattern not in used]
    if unused and len(jax.tree.leaves(params)) > 1:  # a lone array is a trial of the rule, not a network
        raise ValueError(f"The adam_names {unused} of muon match no parameter.")
    return labels
