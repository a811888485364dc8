"""Which query may see which key. Letters: B batch, T queries, S keys; 1 where every row is alike."""

import jax
import jax.numpy as jnp


def attention_mask(
    queries_BT: jax.Array,
    keys_BS: jax.Array,
    *,
    causal: bool = False,
    window: int | None = None,
    also: jax.Array | None = None,
) -> jax.Array:
    """A mask (B, 1, T, S) of the positions of queries and keys, true where a query may see a key.

    >>> attention_mask(jnp.arange(3)[None], jnp.arange(3)[None], causal=True, window=2)[0, 0].astype(int)
    Array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]], dtype=int32)

    Args:
      queries_BT: Positions of the queries, (B, T) or (1, T).
      keys_BS: Positions of the keys, (B, S) or (1, S).
      causal: Whether a query sees no later key.
      window: How many keys, its own included, it sees behind it and, where not causal, before it; None for all.
      also: Another mask that must allow it too, broadcastable to (B, H, T, S).
    """
    if window is not None and window < 1:
        raise ValueError(f"A window holds at least the query's own key: give window >= 1, not {window}.")
    ahead = keys_BS[:, None, None, :] - queries_BT[:, None, :, None]
    mask = jnp.ones(ahead.shape, bool)
    if causal:
        mask = mask & (ahead <= 0)
    if window is not None:
        mask = mask & (ahead > -window) & (ahead < window)
    return mask if also is None else mask & also


def token_attention_mask(token_mask_BS: jax.Array | None) -> jax.Array | None:
    """A mask (B, 1, 1, S) that hides padding; None stays None."""
    return None if token_mask_BS is None else (token_mask_BS != 0)[:, None, None, :]


def segment_attention_mask(segments_BT: jax.Array | None) -> jax.Array | None:
    """A mask (B, 1, T, T) that lets a token see those of its own document only; None stays None.

    >>> segment_attention_mask(jnp.array([[1, 1, 2]]))[0, 0].astype(int)
    Array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 1]], dtype=int32)
    """
    return None if segments_BT is None else (segments_BT[:, :, None] == segments_BT[:, None, :])[:, None]


def both(left: jax.Array | None, right: jax.Array | None) -> jax.Array | None:
    """True where both masks are; None is a mask that hides nothing."""
    if left is None or right is None:
        return left if right is None else right
    return left & right
