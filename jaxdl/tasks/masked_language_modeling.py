"""Guessing hidden tokens from both sides. Letters: B batch, T tokens, V vocabulary."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import cross_entropy
from jaxdl.metrics.language import Perplexity
from jaxdl.metrics.mean import Mean
from jaxdl.types import Batch, Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedLanguageModeling:
    """Rows `tokens` and `token_mask` (B, T) with `targets` and `target_mask` (B, T) of the hidden tokens.

    `jaxdl.augment.MaskTokens` hides tokens in training, `jaxdl.data.text.masked.MaskedRows` in evaluation. Where rows
    have `places` (B, K), targets and logits are of those alone. The loss is the mean over hidden tokens (Devlin et al.
    2019, section 3.1).

    Attributes:
      vocabulary_size: V.
    """

    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.vocabulary_size < 2:
            raise ValueError(f"vocabulary_size must be at least 2, not {self.vocabulary_size}.")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`tokens` and `token_mask` (B, T), and `places` (B, K) where the batch says which tokens are asked for."""
        names = ("tokens", "token_mask", *(("places",) if "places" in batch else ()))
        return {name: jnp.asarray(batch[name]) for name in names}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits (B, T, V) per hidden token in nats, and "accuracy"."""
        if "targets" not in batch or "target_mask" not in batch:
            raise ConfigError(
                "No token of these rows is hidden: train with augment=MaskTokens(...), evaluate on MaskedRows(...); "
                "where a best checkpoint is kept, train on MaskedRows too."
            )
        if outputs.shape[-1] < self.vocabulary_size:
            raise ConfigError(
                f"The model gives {outputs.shape[-1]} numbers for a token, but the vocabulary has "
                f"{self.vocabulary_size}: give its encoder vocab_size={self.vocabulary_size} or more."
            )
        targets_BT = jnp.asarray(batch["targets"])
        weight_BT = jnp.asarray(batch["target_mask"], jnp.float32) * jnp.asarray(batch["mask"], jnp.float32)[:, None]
        loss = Mean.of(cross_entropy(outputs, targets_BT), weight_BT)
        return loss, {"accuracy": Mean.of(jnp.argmax(outputs, axis=-1) == targets_BT, weight_BT)}

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """Per hidden token "accuracy", "nll" and "perplexity"."""
        nll, metrics = self.score(outputs, batch)
        return metrics | {"nll": nll, "perplexity": Perplexity(nll=nll)}

    def decode(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """`token` (B, T) int32, the likeliest at each place."""
        return {"token": jnp.argmax(outputs, axis=-1).astype(jnp.int32)}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a token outside the vocabulary.

        Raises:
          DataError: a key is missing, or tokens are no integers (B, T).
        """
        found: dict[int, str] = {}
        for name in ("tokens", *(("targets",) if "targets" in batch else ())):
            if name not in batch or batch[name].ndim != 2 or batch[name].dtype.kind not in "iu":
                what = f"{batch[name].dtype} {batch[name].shape}" if name in batch else f"only {', '.join(batch)}"
                raise DataError(f"Masked language modeling needs {name!r}, integers (B, T); there is {what}.")
            low, high = batch[name].min(axis=1), batch[name].max(axis=1)
            for row in np.flatnonzero((low < 0) | (high >= self.vocabulary_size)):
                bad = int(low[row] if low[row] < 0 else high[row])
                found.setdefault(int(row), f"the token {bad} is outside the vocabulary [0, {self.vocabulary_size})")
        return sorted(found.items())
