"""What an augmentation is, how several become one, and the random keys of rows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.types import Batch, Key

Augmentation = Callable[[Key, Batch], Batch]
"""A pure function of a key and a batch on the device."""


def compose(augmentations: tuple[Augmentation, ...]) -> Augmentation:
    """One augmentation that applies several in their order, each with a key of its own."""

    def apply(key: Key, batch: Batch) -> Batch:
        for number, augmentation in enumerate(augmentations):
            batch = augmentation(jax.random.fold_in(key, number), batch)
        return batch

    return apply


def row_keys(key: Key, num_rows: int) -> Key:
    """A key per row (B,), which depends on the key and the number of the row alone."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_rows, dtype=jnp.uint32))
