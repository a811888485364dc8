"""Mixtures of two examples with soft labels. Letters: B batch, h w spatial, D channels, C classes.

Every row draws its own share. Partners are drawn by one permutation of the batch; a row of padding neither mixes into
another row nor has its own image changed; its label becomes zeros, since a NaN there would reach the gradients.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxdl.augment.compose import row_keys
from jaxdl.augment.images import inside
from jaxdl.types import Array, Batch, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixup:
    """Blends each image and label with those of another row (Zhang et al. 2018).

    Images become float32 in [0, 1]; labels become probabilities (B, C).

    Attributes:
      num_classes: C.
      alpha: The share of the row itself is drawn from Beta(alpha, alpha).
    """

    num_classes: int
    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch of blends."""
        image = _unit(jnp.asarray(batch["image"]))
        partner_B, share_B = _partners(key, batch, self.alpha)
        share = share_B[:, None, None, None]
        # A partner that is padding has share zero, but may hold NaN.
        mixed = jnp.where(share == 1, image, share * image + (1 - share) * image[partner_B])
        label_BC = _mixed_labels(batch, self.num_classes, partner_B, share_B)
        return {**batch, "image": mixed, "label": label_BC}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix:
    """Pastes a rectangle of another row's image into each image (Yun et al. 2019), labels by area.

    Images keep their type; labels become probabilities (B, C).

    Attributes:
      num_classes: C.
      alpha: The share of the image that stays is drawn from Beta(alpha, alpha), before the rectangle is cut at
        the edge.
    """

    num_classes: int
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """A batch of collages."""
        image = jnp.asarray(batch["image"])
        partner_B, share_B = _partners(key, batch, self.alpha)
        keys_B = row_keys(jax.random.fold_in(key, 2), len(image))
        pasted_Bhw = jax.vmap(lambda key, share: _rectangle(key, share, (image.shape[1], image.shape[2])))(
            keys_B, share_B
        )
        mixed = jnp.where(pasted_Bhw[..., None], image[partner_B], image)
        share_B = 1 - jnp.mean(pasted_Bhw, axis=(1, 2), dtype=jnp.float32)
        label_BC = _mixed_labels(batch, self.num_classes, partner_B, share_B)
        return {**batch, "image": mixed, "label": label_BC}


def soft_labels(labels: Array, num_classes: int) -> jax.Array:
    """Probabilities (B, C) float32: class ids as one-hot rows, NaN where the class does not exist."""
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        return labels.astype(jnp.float32)
    valid_B = (labels >= 0) & (labels < num_classes)
    return jnp.where(valid_B[:, None], jax.nn.one_hot(labels, num_classes), jnp.nan)


def _partners(key: Key, batch: Batch, alpha: float) -> tuple[jax.Array, jax.Array]:
    """The partner of each row (B,) and the share (B,) float32 that the row keeps of itself: 1 beside padding."""
    num_rows = len(batch["image"])
    partner_B = jax.random.permutation(jax.random.fold_in(key, 0), num_rows)
    keys_B = row_keys(jax.random.fold_in(key, 1), num_rows)
    share_B = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys_B)
    if "mask" in batch:
        real_B = jnp.asarray(batch["mask"]) != 0
        share_B = jnp.where(real_B & real_B[partner_B], share_B, 1)
    return partner_B, share_B


def _mixed_labels(batch: Batch, num_classes: int, partner_B: jax.Array, share_B: jax.Array) -> jax.Array:
    label_BC, share_B1 = soft_labels(batch["label"], num_classes), share_B[:, None]
    if "mask" in batch:
        label_BC = jnp.where(jnp.asarray(batch["mask"])[:, None] == 0, 0, label_BC)
    return share_B1 * label_BC + (1 - share_B1) * label_BC[partner_B]


def _rectangle(key: Key, share: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """The pasted pixels (h, w): a rectangle of the image's form and of area 1 - share around a uniform centre."""
    height, width = shape
    side = jnp.sqrt(1 - share)
    row, column = jax.random.uniform(key, (2,)) * jnp.array([height, width])
    half_height, half_width = side * height / 2, side * width / 2
    edges = (row - half_height, column - half_width, row + half_height, column + half_width)
    return inside(shape, *(jnp.round(edge) for edge in edges))


def _unit(image: jax.Array) -> jax.Array:
    return image.astype(jnp.float32) / (255.0 if image.dtype == jnp.uint8 else 1.0)


def _check_alpha(alpha: float) -> None:
    if alpha <= 0:
        raise ValueError(f"alpha must be positive, not {alpha}.")
