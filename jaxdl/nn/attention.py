"""Attention. Letters: B batch, T queries, S keys, D features, H heads, G key and value heads, K features of a head."""

import dataclasses
import math
from functools import partial
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn.linear import Dense
from jaxdl.nn.masks import attention_mask
from jaxdl.nn.placement import axis_size
from jaxdl.nn.positions import Rotary, rotate
from jaxdl.nn.ring import ring_attention

Implementation = Literal["plain", "blocked", "cudnn", "xla", "ring"]
_BLOCK = 64


class KeyValue(flax.struct.PyTreeNode):
    """Keys and values, of a context or of the tokens decoded so far.

    Attributes:
      key: (B, S, G, K).
      value: (B, S, G, K).
    """

    key: jax.Array
    value: jax.Array

    @classmethod
    def zeros(cls, batch: int, length: int, heads: int, head_dim: int, dtype: Any = jnp.float32) -> "KeyValue":
        """Room for `length` tokens of each of `batch` rows."""
        return cls(*(jnp.zeros((batch, length, heads, head_dim), dtype) for _ in range(2)))

    def write(self, new: "KeyValue", start_B: jax.Array) -> "KeyValue":
        """Replaces the tokens from `start_B` (B,) on in each row. What would lie beyond the end overwrites the end."""

        def put(old: jax.Array, new: jax.Array) -> jax.Array:
            place = jax.vmap(lambda row, part, at: jax.lax.dynamic_update_slice(row, part, (at, 0, 0)))
            return place(old, new.astype(old.dtype), start_B)

        return KeyValue(put(self.key, new.key), put(self.value, new.value))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), with fewer key and value heads where asked (Ainslie et al. 2023).

    Parameters: `query/kernel` (D, H K), `key/kernel` and `value/kernel` (D, G K), `out/kernel` (H K, features), and
    their biases.

    Attributes:
      features: Features of the result.
      num_heads: H.
      num_kv_heads: G, a divisor of H; None for H.
      head_dim: K; None for features / H.
      cross: Whether keys and values come from a context instead of the input.
      causal: Whether a query sees only keys at its own position and before. In a sequence without cache that is its
        place in the row.
      window: How many keys, its own included, a query sees on each side where not causal, or behind it where causal
        (Beltagy et al. 2020); None for all.
      scale: What the products are multiplied by; None for 1 / sqrt(K).
      rotary: Rotary position embedding, or None.
      use_bias: Whether the projections have a bias.
      key_bias: Whether that of the keys has one; None for `use_bias`.
      out_bias: Whether that of the result has one; None for `use_bias`.
      query_key_norm: Root-mean-square normalization of queries and keys per head (Dehghani et al. 2023).
      norm_epsilon: Of that normalization.
      dropout_rate: Probability that an attention weight is dropped in training.
      implementation: See `attend`.
      dtype: Type of the computation; None promotes the types of input and parameters.
      kernel_init: Initializer of the kernels.
      query_init: Of that of the queries; None for `kernel_init`.
      out_init: Of that of the result; None for `kernel_init`.
    """

    features: int
    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    cross: bool = False
    causal: bool = False
    window: int | None = None
    scale: float | None = None
    rotary: Rotary | None = None
    use_bias: bool = True
    key_bias: bool | None = None
    out_bias: bool | None = None
    query_key_norm: bool = False
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.0
    implementation: Implementation | None = None
    dtype: Any = None
    kernel_init: initializers.Initializer = initializers.lecun_normal()
    query_init: initializers.Initializer | None = None
    out_init: initializers.Initializer | None = None

    def __post_init__(self) -> None:
        if self.head_dim is None and self.features % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide {self.features} features: give head_dim.")
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        *,
        context_BSD: jax.Array | None = None,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        positions_BT: jax.Array | None = None,
        cache: KeyValue | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, KeyValue | None]:
        """Maps (B, T, D) to (B, T, features), and gives the cache with what was added to it.

        Args:
          x_BTD: The queries' input.
          context_BSD: The keys' and values' input, of cross attention; not needed where `cache` has them.
          mask: True where a query may see a key, broadcastable to (B, H, T, S); `causal` and `window` are added to it.
          bias: Added to the scaled products, broadcastable to (B, H, T, S).
          positions_BT: Position of each token for the rotary embedding; by default its place in the row. With a cache
            they are needed, follow one another in each row, and say where in the cache the tokens go.
          cache: Keys and values of the tokens before, with room for these; or, of cross attention, of the context.
          train: Whether weights are dropped.
        """
        query = self._heads(x_BTD, "query", self.num_heads, self.use_bias)
        fresh = self._fresh(x_BTD if not self.cross else context_BSD, positions_BT)
        if self.rotary is not None:
            query = rotate(self.rotary, query, _places(x_BTD, positions_BT))
        seen, causal, window = fresh if fresh is not None else cache, self.causal, self.window
        if cache is not None and not self.cross:
            if positions_BT is None:
                raise ValueError("Attention with a cache needs the positions of its tokens.")
            seen = cache = cache.write(fresh, positions_BT[:, 0])  # type: ignore[arg-type]
            keys = jnp.arange(seen.key.shape[1])[None]
            mask = attention_mask(positions_BT, keys, causal=True, window=window, also=mask)
            causal, window = False, None
        if seen is None:
            raise ValueError("Cross attention needs a context, or a cache that holds its keys and values.")
        out = attend(
            query,
            seen.key.astype(query.dtype),
            seen.value.astype(query.dtype),
            mask=mask,
            bias=bias,
            causal=causal,
            window=window,
            scale=self.scale,
            dropout_rate=self.dropout_rate if train else 0.0,
            dropout_key=self.make_rng("dropout") if train and self.dropout_rate else None,
            implementation=self.implementation,
        )
        out_bias = self.use_bias if self.out_bias is None else self.out_bias
        merged = out.reshape(*x_BTD.shape[:2], -1)
        out_init = self.out_init or self.kernel_init
        y_BTD = Dense(self.features, use_bias=out_bias, dtype=self.dtype, kernel_init=out_init, name="out")(merged)
        return y_BTD, seen if self.cross else cache

    def _heads(self, x: jax.Array, name: str, heads: int, use_bias: bool) -> jax.Array:
        width = self.head_dim or self.features // self.num_heads
        init = self.query_init if name == "query" and self.query_init is not None else self.kernel_init
        dense = Dense(heads * width, use_bias=use_bias, dtype=self.dtype, kernel_init=init, name=name, parent=self)
        y = dense(x).reshape(*x.shape[:2], heads, width)
        if self.query_key_norm and name in ("query", "key"):
            norm = nn.RMSNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name=f"{name}_norm", parent=self)
            y = norm(y)
        return y

    def _fresh(self, source: jax.Array | None, positions_BT: jax.Array | None) -> KeyValue | None:
        if source is None:
            return None
        heads = self.num_kv_heads or self.num_heads
        key_bias = self.use_bias if self.key_bias is None else self.key_bias
        key = self._heads(source, "key", heads, key_bias)
        if self.rotary is not None:
            key = rotate(self.rotary, key, _places(source, None if self.cross else positions_BT))
        return KeyValue(key, self._heads(source, "value", heads, self.use_bias))


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Scaled dot-product attention: `(B, T, H, K), (B, S, G, K), (B, S, G, K) -> (B, T, H, K)`.

    The softmax is float32. A query that may see no key at all gets the mean of the values that it was given.

    Args:
      query: (B, T, H, K).
      key: (B, S, G, K), where G divides H.
      value: (B, S, G, K).
      mask: True where a query may see a key, broadcastable to (B, H, T, S).
      bias: Added to the scaled products, broadcastable to (B, H, T, S).
      causal: Whether query t sees only the keys up to t; then T is S.
      window: How many keys a query sees, its own included, on each side or, where causal, behind it.
      scale: What the products are multiplied by; None for 1 / sqrt(K).
      dropout_rate: Probability that a weight is dropped.
      dropout_key: Random key of that.
      implementation: "plain" makes all scores at once; "blocked" goes over blocks of queries, each with the keys that
        it may see; "cudnn" is the fused kernel of NVIDIA GPUs, in 16 bits and without dropout, "xla" what
        `jax.nn.dot_product_attention` does elsewhere; "ring" is that of a mesh which splits the tokens over
        `sequence`, without bias and dropout (see `jaxdl.nn.ring`), where the others gather all keys on every device,
        and without such a mesh the same as None. None takes the ring where it can, then cuDNN, then blocks where
        causal and long enough, and plain otherwise.
    """
    if causal and query.shape[1] != key.shape[1]:
        raise ValueError(
            f"Causal attention needs as many queries as keys, not {query.shape[1]} and {key.shape[1]}: "
            "give a mask of positions."
        )
    if query.shape[2] % key.shape[2]:
        raise ValueError(f"{key.shape[2]} key and value heads do not divide {query.shape[2]} query heads.")
    mask, bias = (None if x is None else x.reshape((1,) * (4 - x.ndim) + x.shape) for x in (mask, bias))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    turns = axis_size("sequence")
    if implementation is None or (implementation == "ring" and turns == 1):
        exact = not dropout_rate and bias is None
        splits = turns > 1 and query.shape[1] == key.shape[1] and query.shape[1] % turns == 0
        implementation = "ring" if splits and exact else _choose(query, causal, window, dropout_rate, bias)
    if implementation == "ring":
        if dropout_rate or bias is not None:
            raise ValueError("The ring attention has no bias and no dropout: choose another implementation.")
        return ring_attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale)
    if implementation in ("cudnn", "xla"):
        if dropout_rate:
            raise ValueError(f"The {implementation} attention has no dropout: use 'plain' or 'blocked'.")
        sides = None if window is None else (window - 1, 0 if causal else window - 1)
        fused = partial(jax.nn.dot_product_attention, local_window_size=sides, implementation=implementation)
        return fused(query, key, value, bias, mask, scale=scale, is_causal=causal)
    scores = _Scores(mask, bias, causal, window, scale, dropout_rate)
    if implementation == "plain" or not causal:
        return scores.attend(query, key, value, 0, dropout_key)
    block = max(_BLOCK, math.ceil(query.shape[1] / 16))
    parts = []
    for start in range(0, query.shape[1], block):
        stop = min(start + block, query.shape[1])
        first = 0 if window is None else max(0, start - window + 1)
        part_key = None if dropout_key is None else jax.random.fold_in(dropout_key, start)
        seen = slice(first, stop)
        parts.append(scores.attend(query[:, start:stop], key[:, seen], value[:, seen], start, part_key, first))
    return jnp.concatenate(parts, axis=1)


def _choose(
    query: jax.Array, causal: bool, window: int | None, dropout_rate: float, bias: jax.Array | None
) -> Implementation:
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = query.shape[-1] % 8 == 0 and query.shape[-1] <= 128 and (window is None or causal)
    if jax.default_backend() == "gpu" and half and fits and not dropout_rate and bias is None:
        return "cudnn"
    return "blocked" if causal and query.shape[1] >= 2 * _BLOCK else "plain"


@dataclasses.dataclass(frozen=True)
class _Scores:
    """What `attend` was asked for, for any block of queries."""

    mask: jax.Array | None
    bias: jax.Array | None
    causal: bool
    window: int | None
    scale: float
    dropout_rate: float

    def attend(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        start: int,
        dropout_key: jax.Array | None,
        first: int = 0,
    ) -> jax.Array:
        """Attention of the queries from `start` on over the keys from `first` on."""
        (batch, count, heads, width), (keys, groups) = query.shape, key.shape[1:3]
        # Three-axis products are the ones that XLA hands to the CPU's matrix library without a copy.
        rows = query.reshape(batch, count, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
        rows = rows.reshape(batch * groups, heads // groups * count, width)
        columns = key.transpose(0, 2, 3, 1).reshape(batch * groups, width, keys)
        scores = jnp.matmul(rows * self.scale, columns, preferred_element_type=jnp.float32)
        scores = scores.reshape(batch, heads, count, keys)
        if self.bias is not None:
            scores = scores + _part(self.bias, start, count, first, keys)
        # The softmax divides by its sum after the product with the values, where there is less to divide.
        scores = self._hide(scores, start, first)
        weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
        total = jnp.sum(weights, axis=-1, keepdims=True)
        if dropout_key is not None:
            kept = jax.random.bernoulli(dropout_key, 1 - self.dropout_rate, weights.shape)
            weights = jnp.where(kept, weights / (1 - self.dropout_rate), 0)
        weights = weights.astype(query.dtype).reshape(batch * groups, heads // groups * count, keys)
        values = value.transpose(0, 2, 1, 3).reshape(batch * groups, keys, width)
        out = jnp.matmul(weights, values, preferred_element_type=jnp.float32)
        out = out.reshape(batch, heads, count, width) / total
        return out.astype(query.dtype).transpose(0, 2, 1, 3)

    def _hide(self, scores: jax.Array, start: int, first: int) -> jax.Array:
        count, keys = scores.shape[2:]
        mask = None if self.mask is None else _part(self.mask, start, count, first, keys)
        if self.causal or self.window is not None:
            places = (start + jnp.arange(count))[None], (first + jnp.arange(keys))[None]
            mask = attention_mask(*places, causal=self.causal, window=self.window, also=mask)
        return scores if mask is None else jnp.where(mask, scores, jnp.finfo(scores.dtype).min)


def _part(whole: jax.Array, start: int, count: int, first: int, keys: int) -> jax.Array:
    """The block of a mask or bias (B, H, T, S) for these queries and keys, where its axes are not 1."""
    if whole.shape[2] != 1:
        whole = whole[:, :, start : start + count]
    return whole if whole.shape[3] == 1 else whole[..., first : first + keys]


def _places(x_BTD: jax.Array, positions_BT: jax.Array | None) -> jax.Array:
    return jnp.arange(x_BTD.shape[1])[None] if positions_BT is None else positions_BT
