"""The dtypes of parameters, of computation and of outputs."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdl.types import PyTree

DType = Literal["float32", "bfloat16", "float16", "float64"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """A mixed-precision policy (Micikevicius et al., 2018), whatever the model.

    Attributes:
      params: What parameters and optimizer state are stored as.
      compute: What the model computes in. bfloat16 is the choice on TPU and GPU; on CPU it is slower than float32.
      output: What the model's outputs are cast to before the loss.
    """

    params: DType = "float32"
    compute: DType = "float32"
    output: DType = "float32"


def cast(tree: PyTree, dtype: DType) -> PyTree:
    """Casts the floating-point leaves of a tree.

    >>> {k: str(v.dtype) for k, v in cast({"x": jnp.ones(1), "n": jnp.ones(1, int)}, "bfloat16").items()}
    {'n': 'int32', 'x': 'bfloat16'}
    """

    def one(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)
