"""Tokens hidden from a model that is to guess them. Letters: B batch, T tokens."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxdl.augment.compose import row_keys
from jaxdl.types import Batch, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskTokens:
    """Hides tokens as BERT does (Devlin et al. 2019, section 3.1), drawn anew at each step.

    Of `tokens` (B, T) a share is chosen, never padding; of these most become the mask token, some a random token, and
    the rest stay as they are. `targets` (B, T) are the tokens as they were, `target_mask` (B, T) float32 is 1 where a
    token was chosen. Rows that have `targets` already are masked from those, so that the source may mask too.

    With a `limit` K, no more than K tokens of a row are chosen, and the batch says which: `places` (B, K), to which
    `targets` and `target_mask` (B, K) belong. A model that is given `places` makes logits of those alone.

    Attributes:
      vocabulary_size: Random tokens have ids below it.
      mask_token: The id that hides a token.
      rate: Share of the tokens that are chosen.
      masked: Share of the chosen that become the mask token.
      random: Share of the chosen that become a random token.
      random_from: The least id of a random token, above the special ones.
      never: Ids that are not chosen, such as those of special tokens.
      limit: K, or None for any number.
    """

    vocabulary_size: int
    mask_token: int
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    random_from: int = 0
    never: tuple[int, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1 or min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise ValueError(
                f"rate must be in (0, 1] and masked + random at most 1, not {self.rate}, {self.masked}, {self.random}."
            )
        if not 0 <= self.random_from < self.vocabulary_size or not 0 <= self.mask_token < self.vocabulary_size:
            raise ValueError(
                f"random_from and mask_token must be in [0, {self.vocabulary_size}), not {self.random_from} and "
                f"{self.mask_token}."
            )
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}.")

    def __call__(self, key: Key, batch: Batch) -> Batch:
        """The batch with `targets` and `target_mask`, and most of what they ask for hidden in `tokens`."""
        if "places" in batch:
            raise ValueError("These rows were masked by a limit already, so that what was hidden is not known.")
        targets_BT = jnp.asarray(batch["targets"] if "targets" in batch else batch["tokens"])
        keys_B = row_keys(key, len(targets_BT))
        shape = targets_BT.shape[1:]
        draw = jax.vmap(lambda key, number: jax.random.uniform(jax.random.fold_in(key, number), shape), (0, None))
        kind_BT, spread_BT = draw(keys_B, 1), draw(keys_B, 2)
        chosen_BT = (draw(keys_B, 0) < self.rate) & (jnp.asarray(batch["token_mask"]) != 0)
        for index in self.never:
            chosen_BT &= targets_BT != index
        places_BK = None if self.limit is None else jnp.argsort(~chosen_BT, axis=1, stable=True)[:, : self.limit]
        if places_BK is not None:
            chosen_BT &= jnp.cumsum(chosen_BT, axis=1) <= places_BK.shape[1]
        # A product of a float below one can still round up to the size itself.
        size = self.vocabulary_size - self.random_from
        other_BT = self.random_from + jnp.minimum((spread_BT * size).astype(targets_BT.dtype), size - 1)
        hidden_BT = jnp.where(kind_BT < self.masked, self.mask_token, targets_BT)
        hidden_BT = jnp.where(kind_BT >= 1 - self.random, other_BT, hidden_BT)
        batch = {**batch, "tokens": jnp.where(chosen_BT, hidden_BT, targets_BT)}
        asked = {"targets": targets_BT, "target_mask": chosen_BT.astype(jnp.float32)}
        if places_BK is None:
            return {**batch, **asked}
        asked = {name: jnp.take_along_axis(value, places_BK, axis=1) for name, value in asked.items()}
        return {**batch, **asked, "places": places_BK.astype(jnp.int32)}
