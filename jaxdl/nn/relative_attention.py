"""Attention by content and distance. Letters: B batch, T tokens, D features, H heads, K features of a head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn.attention import attend
from jaxdl.nn.linear import Dense
from jaxdl.nn.positions import sinusoids


class RelativeAttention(nn.Module):
    """Self-attention whose scores compare a query with a key and with the distance to it.

    Dai et al. 2019, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", section 3.3.

    Parameters: those of `Attention`, and `position/kernel` (D, H K) for the sinusoids of the distances, `content_bias`
    and `position_bias` (H, K), which are added to the queries of the two comparisons.

    Attributes:
      features: D, of input and result.
      num_heads: H.
      dropout_rate: Probability that an attention weight is dropped in training.
      dtype: Type of the computation; None promotes the types of input and parameters.
      kernel_init: Initializer of the kernels.
    """

    features: int
    num_heads: int
    dropout_rate: float = 0.0
    dtype: Any = None
    kernel_init: initializers.Initializer = initializers.lecun_normal()

    def __post_init__(self) -> None:
        if self.features % self.num_heads or self.features % 2:
            raise ValueError(f"{self.features} features must be even and a multiple of {self.num_heads} heads.")
        super().__post_init__()

    @nn.compact
    def __call__(self, x_BTD: jax.Array, *, mask: jax.Array | None = None, train: bool) -> jax.Array:
        """Maps (B, T, D) to (B, T, D); `mask`, broadcastable to (B, H, T, T), is true where a query may see a key."""
        batch, count, _ = x_BTD.shape
        heads = (self.num_heads, self.features // self.num_heads)

        def dense(x: jax.Array, name: str, use_bias: bool = True) -> jax.Array:
            options = {"use_bias": use_bias, "dtype": self.dtype, "kernel_init": self.kernel_init}
            return Dense(self.features, name=name, parent=self, **options)(x)

        query, key, value = (dense(x_BTD, name).reshape(batch, count, *heads) for name in ("query", "key", "value"))
        distances = dense(jnp.asarray(_distances(count, self.features)), "position", False).reshape(-1, *heads)
        content_HK, position_HK = (
            self.param(f"{name}_bias", initializers.zeros, heads, jnp.float32).astype(query.dtype)
            for name in ("content", "position")
        )
        scale = heads[1] ** -0.5
        by_distance = jnp.einsum("bthk,phk->bhtp", query + position_HK[None, None], distances.astype(query.dtype))
        out = attend(
            query + content_HK[None, None],
            key,
            value,
            mask=mask,
            bias=_by_place(by_distance.astype(jnp.float32) * scale),
            scale=scale,
            dropout_rate=self.dropout_rate if train else 0.0,
            dropout_key=self.make_rng("dropout") if train and self.dropout_rate else None,
        )
        return dense(out.reshape(x_BTD.shape), "out")


def _distances(count: int, features: int) -> np.ndarray:
    """Sinusoids of the distances from `count - 1` behind to as many ahead: (2 count - 1, features)."""
    behind = sinusoids(count, features)
    ahead = behind * np.tile(np.asarray([-1, 1], np.float32), features // 2)  # The sine is odd, the cosine even.
    return np.concatenate((behind[::-1], ahead[1:]))


def _by_place(scores_BHTP: jax.Array) -> jax.Array:
    """From scores by distance, P = 2 T - 1, to scores by key: that of query t and key s is at T - 1 - t + s."""
    batch, heads, count, distances = scores_BHTP.shape
    # With one more column, rows that are read as if they were one shorter each start one place further left.
    padded = jnp.pad(scores_BHTP, ((0, 0), (0, 0), (0, 0), (1, 0))).reshape(batch, heads, distances + 1, count)
    return padded[:, :, 1:].reshape(scores_BHTP.shape)[..., :count]
