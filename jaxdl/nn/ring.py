"""Attention of a sequence that is split over devices, whose keys and values go round them in a ring.

Letters: B batch, T queries and S keys of a device, N devices, G key and value heads, R queries of each, K features.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.nn.masks import attention_mask
from jaxdl.nn.placement import axis_size

_AXIS = "sequence"


@dataclasses.dataclass(frozen=True)
class _Ring:
    """What is the same on every device."""

    devices: int
    causal: bool
    window: int | None
    scale: float

    def turn(self, tree: Any) -> Any:
        """Everything moves to the next device."""
        pairs = [(i, (i + 1) % self.devices) for i in range(self.devices)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, _AXIS, pairs), tree)

    def needed(self, me: jax.Array, owner: jax.Array, count: int) -> jax.Array:
        """Whether a query of this device may see a key of the owner's."""
        behind = me - owner
        seen = behind >= 0 if self.causal else jnp.bool_(True)
        if self.window is not None:
            seen &= (jnp.abs(behind) - 1) * count + 1 < self.window
        return seen

    def scores(self, query: jax.Array, key: jax.Array, mask: jax.Array | None, owner: jax.Array) -> jax.Array:
        """Products (B, G, R, T, S) in float32, the smallest number where a query may not see a key."""
        me, (count, keys) = jax.lax.axis_index(_AXIS), (query.shape[1], key.shape[1])
        products = jnp.einsum("btgrk,bsgk->bgrts", query * self.scale, key, preferred_element_type=jnp.float32)
        if mask is not None and mask.shape[-1] != 1:
            mask = jax.lax.dynamic_slice_in_dim(mask, owner * keys, keys, axis=-1)
        if self.causal or self.window is not None:
            places = (me * count + jnp.arange(count))[None], (owner * keys + jnp.arange(keys))[None]
            mask = attention_mask(*places, causal=self.causal, window=self.window, also=mask)
        if mask is None:
            return products
        hidden = mask if mask.shape[1] == 1 else mask.reshape(len(mask), *query.shape[2:4], *mask.shape[2:])
        hidden = hidden[:, None] if mask.shape[1] == 1 else hidden
        return jnp.where(hidden, products, jnp.finfo(jnp.float32).min)


def ring_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float,
) -> jax.Array:
    """Attention `(B, T, H, K), (B, T, G, K), (B, T, G, K) -> (B, T, H, K)` of tokens split over the axis `sequence`.

    Each device keeps its queries, and sees the keys and values of one device after another (Liu et al. 2023, "Ring
    Attention with Blockwise Transformers"). No device ever holds more keys than its own and those that pass by, in the
    backward pass too, which sends them round again. A causal ring leaves out the blocks that lie ahead, so that the
    last device works most. A query that may see no key gives a mean of some values.

    Args:
      query: (B, T, H, K), T a multiple of the size of the axis.
      key: (B, T, G, K), where G divides H.
      value: (B, T, G, K).
      mask: True where a query may see a key, of four axes that are 1 or those of (B, H, T, T).
      causal: Whether query t sees only the keys up to t.
      window: How many keys a query sees, its own included, on each side or, where causal, behind it.
      scale: What the products are multiplied by.

    Raises:
      ConfigError: the number of tokens is no multiple of the size of the axis.
    """
    devices = axis_size(_AXIS)
    if query.shape[1] % devices or query.shape[1] != key.shape[1]:
        raise ConfigError(
            f"Ring attention splits queries and keys alike over {devices} devices, not {query.shape[1]} and "
            f"{key.shape[1]}: choose a length that {devices} divides, or another implementation."
        )
    ring = _Ring(devices, causal, window, scale)
    tokens = P(None, _AXIS)
    rows = P(None, None, None if mask is None or mask.shape[2] == 1 else _AXIS)
    run = jax.shard_map(
        partial(_local, ring),
        in_specs=(tokens, tokens, tokens, rows),
        out_specs=tokens,
        axis_names={_AXIS},
        check_vma=False,
    )
    return run(query, key, value, mask)


def _local(ring: _Ring, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None) -> jax.Array:
    batch, count, heads, width = query.shape
    groups = key.shape[2]
    out = _attend(ring, query.reshape(batch, count, groups, heads // groups, width), key, value, mask)
    return out.reshape(batch, count, heads, width)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: _Ring, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None) -> jax.Array:
    return _forward(ring, query, key, value, mask)[0]


def _forward(
    ring: _Ring, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> tuple[jax.Array, Any]:
    """The result (B, T, G, R, K), and what the backward pass needs."""
    me = jax.lax.axis_index(_AXIS)
    shape = (query.shape[0], *query.shape[2:4], query.shape[1])
    nothing = jnp.zeros((*shape, query.shape[-1]), jnp.float32)
    largest = jnp.full(shape, jnp.finfo(jnp.float32).min)

    def see(sums: Any, key: jax.Array, value: jax.Array, owner: jax.Array) -> Any:
        out, total, largest = sums
        scores = ring.scores(query, key, mask, owner)
        new = jnp.maximum(largest, scores.max(axis=-1))
        weights, keep = jnp.exp(scores - new[..., None]), jnp.exp(largest - new)
        more = jnp.einsum("bgrts,bsgk->bgrtk", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
        return out * keep[..., None] + more, total * keep + weights.sum(axis=-1), new

    def body(step: jax.Array, carry: Any) -> Any:
        sums, key, value = carry
        owner = (me - step) % ring.devices
        sums = jax.lax.cond(ring.needed(me, owner, query.shape[1]), see, lambda sums, *_: sums, sums, key, value, owner)
        return sums, *ring.turn((key, value))

    sums = (nothing, jnp.zeros(shape, jnp.float32), largest)
    (out, total, largest), _, _ = jax.lax.fori_loop(0, ring.devices, body, (sums, key, value))
    out = (out / total[..., None]).transpose(0, 3, 1, 2, 4).astype(query.dtype)
    return out, (query, key, value, mask, out, largest + jnp.log(total))


def _backward(ring: _Ring, kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """The gradients: those of keys and values go round with them, and are home after as many turns."""
    query, key, value, mask, out, log_total = kept
    me = jax.lax.axis_index(_AXIS)
    product = jnp.einsum("btgrk,btgrk->bgrt", grad, out, preferred_element_type=jnp.float32)

    def see(grads: Any, key: jax.Array, value: jax.Array, owner: jax.Array) -> Any:
        by_query, by_key, by_value = grads
        weights = jnp.exp(ring.scores(query, key, mask, owner) - log_total[..., None])
        by_weights = jnp.einsum("btgrk,bsgk->bgrts", grad, value, preferred_element_type=jnp.float32)
        by_scores = (weights * (by_weights - product[..., None]) * ring.scale).astype(query.dtype)
        einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
        return (
            by_query + einsum("bgrts,bsgk->btgrk", by_scores, key),
            by_key + einsum("bgrts,btgrk->bsgk", by_scores, query),
            by_value + einsum("bgrts,btgrk->bsgk", weights.astype(query.dtype), grad),
        )

    def body(step: jax.Array, carry: Any) -> Any:
        grads, key, value = carry
        owner = (me - step) % ring.devices
        needed = ring.needed(me, owner, query.shape[1])
        grads = jax.lax.cond(needed, see, lambda grads, *_: grads, grads, key, value, owner)
        by_query, *by_others = grads
        return (by_query, *ring.turn(tuple(by_others))), *ring.turn((key, value))

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in (query, key, value))
    grads, _, _ = jax.lax.fori_loop(0, ring.devices, body, (zeros, key, value))
    by_query, by_key, by_value = (grad.astype(query.dtype) for grad in grads)
    return by_query, by_key, by_value, None


_attend.defvjp(_forward, _backward)
