"""Attention of one query over a memory, as in recurrent decoders. Letters: B batch, S memory, H query, E value, A."""

from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.nn.linear import Dense

Score = Literal["additive", "dot", "general"]


class Memory(flax.struct.PyTreeNode):
    """What is attended to, computed once.

    Attributes:
      values: (B, S, E).
      keys: What queries are compared with, (B, S, A).
      mask: (B, S), 1 real and 0 padding; None where all are real.
    """

    values: jax.Array
    keys: jax.Array
    mask: jax.Array | None = None


class Alignment(nn.Module):
    """Attention weights of a query over a memory, and the mean of the memory under them.

    The score of query q and value v is w . tanh(Q q + K v) where "additive" (Bahdanau et al. 2015), q . K v where
    "general" and q . v where "dot" (Luong et al. 2015). Parameters: `key/kernel`, except of "dot"; `query/kernel`,
    `query/bias` and `weigh/kernel` (A, 1) of "additive". The softmax is float32 and gives padding no weight; a row of
    padding alone gets zeros.

    Attributes:
      features: A: free where "additive"; H otherwise.
      score: The form of the score.
      dtype: Type of the products; None promotes the types of input and parameters.
    """

    features: int
    score: Score = "additive"
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.score not in ("additive", "dot", "general"):
            raise ValueError(f"score must be 'additive', 'dot' or 'general', not {self.score!r}.")
        super().__post_init__()

    def setup(self) -> None:
        """Makes the layers that the score has."""
        if self.score != "dot":
            self.key = Dense(self.features, use_bias=False, dtype=self.dtype)
        if self.score == "additive":
            self.query = Dense(self.features, dtype=self.dtype)
            self.weigh = Dense(1, use_bias=False, dtype=self.dtype)

    def remember(self, values_BSE: jax.Array, mask_BS: jax.Array | None = None) -> Memory:
        """Computes the keys of a memory (B, S, E)."""
        if self.score == "dot" and values_BSE.shape[-1] != self.features:
            raise ValueError(
                f"The score 'dot' needs values as wide as the query, {self.features}, not {values_BSE.shape[-1]}: "
                "take 'general', or another width."
            )
        return Memory(values_BSE, values_BSE if self.score == "dot" else self.key(values_BSE), mask_BS)

    def __call__(self, query_BH: jax.Array, memory: Memory) -> tuple[jax.Array, jax.Array]:
        """The mean value (B, E) and the float32 weights (B, S) of a query (B, H)."""
        if self.score == "additive":
            scores_BS = self.weigh(jnp.tanh(self.query(query_BH)[:, None] + memory.keys))[..., 0]
        else:
            scores_BS = (memory.keys @ query_BH.astype(memory.keys.dtype)[:, :, None])[..., 0]
        scores_BS = scores_BS.astype(jnp.float32)
        if memory.mask is not None:
            scores_BS = jnp.where(memory.mask != 0, scores_BS, jnp.finfo(jnp.float32).min)
        weights_BS = jax.nn.softmax(scores_BS, axis=-1)
        if memory.mask is not None:
            weights_BS = jnp.where(memory.mask != 0, weights_BS, 0)
        mean_BE = (weights_BS.astype(memory.values.dtype)[:, None] @ memory.values)[:, 0]
        return mean_BE, weights_BS
