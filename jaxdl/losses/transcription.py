"""Connectionist temporal classification. Letters: B batch, S frames, V classes, T labels."""

import jax
import jax.numpy as jnp
import optax

from jaxdl.types import Array


def ctc(logits_BSV: Array, lengths_B: Array, labels_BT: Array, label_mask_BT: Array, *, blank: int = 0) -> jax.Array:
    """The negative log-probability of labels over all their alignments, (B,) float32, in nats (Graves et al. 2006).

    A row with fewer than `least_frames` is impossible: it gives infinity, and no gradient.

    >>> ctc(jnp.zeros((1, 2, 4)), jnp.array([2]), jnp.array([[3]]), jnp.ones((1, 1)))  # 3 of 16 paths
    Array([1.6739764], dtype=float32)

    Args:
      logits_BSV: Unnormalised log-probabilities of the classes in each frame.
      lengths_B: Frames of each row.
      labels_BT: Class ids of an integer type, none of them the blank.
      label_mask_BT: 1 for a label, 0 for the padding behind them.
      blank: The class that stands for no label.

    Raises:
      ValueError: the shapes do not belong together, or the blank is no class.
    """
    logits_BSV = jnp.asarray(logits_BSV, jnp.float32)
    labels_BT, label_mask_BT = jnp.asarray(labels_BT), jnp.asarray(label_mask_BT) != 0
    rows = logits_BSV.shape[:1]
    if logits_BSV.ndim != 3 or labels_BT.ndim != 2 or labels_BT.shape[:1] != rows or jnp.shape(lengths_B) != rows:
        raise ValueError(
            f"Logits (B, S, V), lengths (B,) and labels (B, T) are needed, not {logits_BSV.shape}, "
            f"{jnp.shape(lengths_B)} and {labels_BT.shape}."
        )
    if labels_BT.shape != label_mask_BT.shape or not 0 <= blank < logits_BSV.shape[-1]:
        raise ValueError(
            f"A mask {labels_BT.shape} and a blank below {logits_BSV.shape[-1]} are needed, not {label_mask_BT.shape} "
            f"and {blank}."
        )
    lengths_B = jnp.asarray(lengths_B)
    beyond_BS = jnp.arange(logits_BSV.shape[1])[None] >= lengths_B[:, None]
    loss_B = optax.ctc_loss(
        logits_BSV, beyond_BS.astype(jnp.float32), labels_BT, 1.0 - label_mask_BT.astype(jnp.float32), blank_id=blank
    )
    return jnp.where(lengths_B < least_frames(labels_BT, label_mask_BT), jnp.inf, loss_B)


def least_frames(labels_BT: Array, label_mask_BT: Array) -> jax.Array:
    """The least frames that labels can be aligned with, int32 (B,): one each, and a blank between two that are equal.

    >>> least_frames(jnp.array([[5, 5, 7, 0]]), jnp.array([[1, 1, 1, 0]]))
    Array([4], dtype=int32)
    """
    labels_BT, label_mask_BT = jnp.asarray(labels_BT), jnp.asarray(label_mask_BT) != 0
    same_BT = (labels_BT[:, 1:] == labels_BT[:, :-1]) & label_mask_BT[:, 1:]
    return jnp.sum(label_mask_BT, axis=1, dtype=jnp.int32) + jnp.sum(same_BT, axis=1, dtype=jnp.int32)
