"""Low-rank adaptation of any model. Letters: I inputs of a kernel, O outputs, R rank."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.types import PyTree


class LoRA(nn.Module):
    """A model whose chosen kernels W (I, O) are W + alpha / rank * A B, where A is (I, R) and B (R, O).

    Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models". B begins at zero, so that the adapted model
    begins as `model`. Any kernel may be a target, those of convolutions too, whose I is all axes but the last. The
    kernels are added up before they are used, so that every kind of layer fits, at the cost that the gradient of a
    whole target is made on the way to those of A and B.

    The parameters of `model` are below `base/`, A and B of `base/x/kernel` are `lora/x/kernel/a` and `lora/x/kernel/b`.
    What trains is the experiment's choice: `frozen=("base/.*",)` leaves A and B, `frozen=("base/(?!head/).*",)` also
    the head.

    Attributes:
      model: Any module with `__call__(**inputs, train: bool)`.
      rank: R.
      alpha: Scale of the sum; a new rank needs no new learning rate while this stays.
      targets: Regexes over the names of the parameters of `model`, such as `".*/(query|value)/kernel"`.
      dropout_rate: Probability that a row of A, an input of its kernel, is dropped in training, for the whole batch at
        once (the paper's own code drops it for each token).
    """

    model: nn.Module
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = (r".*/(query|value)/kernel",)
    dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}.")
        if isinstance(self.targets, str) or not self.targets:
            raise ValueError(f"targets must be regular expressions over parameter names, not {self.targets!r}.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate must be in [0, 1), not {self.dropout_rate}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, *, train: bool, **inputs: Any) -> PyTree:
        """Gives what `model` gives for the same inputs.

        Raises:
          ConfigError: a target matches no parameter, or one that is no matrix.
        """
        base = self.model.clone(parent=self, name="base")
        if self.is_initializing():
            outputs = base(**inputs, train=train)  # B is zero.
            kernels = choose(base.variables["params"], self.targets)
            self.param("lora", lambda key: trees.nest(_pairs(key, kernels, self.rank)))
            return outputs
        lora: Mapping[str, Any] = self.get_variable("params", "lora")
        if train and self.dropout_rate:
            lora = _drop_rows(lora, self.make_rng("dropout"), self.dropout_rate)

        def adapt(variables: Mapping[str, Any]) -> dict[str, Any]:
            return {**variables, "params": _add(variables["params"], lora, self.alpha)}

        run = nn.map_variables(lambda base: base(**inputs, train=train), "params", trans_in_fn=adapt)
        return run(base)


def merge(model: LoRA, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `model.model` alone that give the same outputs: W + alpha / rank * A B in place of W.

    Raises:
      ConfigError: these are not the parameters of a `LoRA`.
    """
    if set(params) != {"base", "lora"}:
        raise ConfigError(f"The parameters of a LoRA are in 'base' and 'lora'; these are in {sorted(params)}.")
    return _add(params["base"], params["lora"], model.alpha)


def choose(params: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """The kernels, by name, that targets match.

    Raises:
      ConfigError: a target matches no parameter, or one that is no matrix.
    """
    leaves = trees.flatten(params)
    chosen: dict[str, Any] = {}
    for pattern in targets:
        found = {name: leaf for name, leaf in leaves.items() if re.fullmatch(pattern, name)}
        vectors = [name for name, leaf in found.items() if leaf.ndim < 2]
        if vectors:
            raise ConfigError(f"The LoRA target {pattern!r} matches {', '.join(vectors[:5])}, which are no matrices.")
        if not found:
            matrices = [name for name, leaf in leaves.items() if leaf.ndim >= 2]
            near = difflib.get_close_matches(pattern, matrices, n=5, cutoff=0.3) or matrices[:5]
            raise ConfigError(
                f"The LoRA target {pattern!r} matches no parameter of the model; the nearest are {', '.join(near)}. "
                "Names are those of the model itself, without 'base/'."
            )
        chosen |= found
    return chosen


def _pairs(key: jax.Array, kernels: Mapping[str, Any], rank: int) -> dict[str, jax.Array]:
    pairs = {}
    for index, (name, kernel) in enumerate(sorted(kernels.items())):
        rows, columns = math.prod(kernel.shape[:-1]), kernel.shape[-1]
        pairs[f"{name}/a"] = initializers.lecun_normal()(jax.random.fold_in(key, index), (rows, rank), kernel.dtype)
        pairs[f"{name}/b"] = jnp.zeros((rank, columns), kernel.dtype)
    return pairs


def _add(params: Mapping[str, Any], lora: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    leaves, pairs = trees.flatten(params), trees.flatten(lora)
    for name in dict.fromkeys(name.rpartition("/")[0] for name in pairs):
        a_IR, b_RO = pairs[f"{name}/a"], pairs[f"{name}/b"]
        update = (alpha / a_IR.shape[1]) * (a_IR @ b_RO)
        leaves[name] = leaves[name] + update.reshape(leaves[name].shape).astype(leaves[name].dtype)
    return trees.nest(leaves)


def _drop_rows(lora: Mapping[str, Any], key: jax.Array, rate: float) -> dict[str, Any]:
    dropped = trees.flatten(lora)
    for index, name in enumerate(sorted(name for name in dropped if name.endswith("/a"))):
        a_IR = dropped[name]
        kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - rate, (a_IR.shape[0], 1))
        dropped[name] = jnp.where(kept, a_IR / (1 - rate), jnp.zeros_like(a_IR))
    return trees.nest(dropped)
