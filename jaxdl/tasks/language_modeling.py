"""Next-token prediction. Letters: B batch, T tokens, V vocabulary."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import cross_entropy
from jaxdl.metrics.language import Perplexity
from jaxdl.metrics.mean import Mean
from jaxdl.nn import Routed, Routing, load_balance_loss, router_z_loss
from jaxdl.types import Batch, Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModeling:
    """Rows `tokens` and `targets` (B, T) with `token_mask` (B, T), such as those of `PackedRows`.

    The loss is the mean over tokens, not over rows, so that neither padding nor the length of a row counts.

    Attributes:
      vocabulary_size: V.
      packed: Whether rows hold several documents, which then do not see each other: the model is given `segments` and
        `positions`.
      label_smoothing: Share of the target that is spread over the vocabulary.
      balance_factor: What the loss of an uneven choice of experts counts, of models that have them (Fedus et al. 2021,
        equation 4, of each row and layer; they take 0.01).
      router_z_factor: What the loss of large router logits counts (Zoph et al. 2022, equation 5; they take 0.001).
    """

    vocabulary_size: int
    packed: bool = False
    label_smoothing: float = 0.0
    balance_factor: float = 0.01
    router_z_factor: float = 0.0

    def __post_init__(self) -> None:
        if self.vocabulary_size < 2:
            raise ValueError(f"vocabulary_size must be at least 2, not {self.vocabulary_size}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}.")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`tokens`, and where packed `segments` and `positions`, all (B, T)."""
        names = ("tokens", "segments", "positions") if self.packed else ("tokens",)
        return {name: jnp.asarray(batch[name]) for name in names}

    def score(self, outputs: jax.Array | Routed, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits (B, T, V) per token in nats, and "accuracy".

        Of a model with experts the losses of its routers, means over layers, are added to the loss, and there are
        "balance", which is the number of experts of a token where they are chosen evenly, and "dropped", the share of
        choices that found their expert full.
        """
        if isinstance(outputs, Routed):
            loss, metrics = self.score(outputs.outputs, batch)
            penalty, routing = self._routing(outputs.routing, self._weight(batch).sum(axis=1))
            return loss.replace(total=loss.total + penalty), metrics | routing
        if outputs.shape[-1] < self.vocabulary_size:
            raise ConfigError(
                f"The model gives {outputs.shape[-1]} numbers for a token, but the vocabulary has "
                f"{self.vocabulary_size}: give the model vocab_size={self.vocabulary_size} or more."
            )
        targets, weight = jnp.asarray(batch["targets"]), self._weight(batch)
        loss = Mean.of(cross_entropy(outputs, targets, label_smoothing=self.label_smoothing), weight)
        return loss, {"accuracy": Mean.of(jnp.argmax(outputs, axis=-1) == targets, weight)}

    def measure(self, outputs: jax.Array | Routed, batch: Batch) -> dict[str, Metric]:
        """Per token "accuracy", "nll" and "perplexity" and, where the batch says `target_bytes`, "bits_per_byte".

        Bits per byte of UTF-8 compare models of different tokenizers.
        """
        plain = dataclasses.replace(self, label_smoothing=0.0, balance_factor=0.0, router_z_factor=0.0)
        nll, metrics = plain.score(outputs, batch)
        metrics |= {"nll": nll, "perplexity": Perplexity(nll=nll)}
        if "target_bytes" in batch:
            size = jnp.sum(jnp.asarray(batch["target_bytes"], jnp.float32) * self._weight(batch))
            metrics["bits_per_byte"] = Mean(total=nll.total / math.log(2), weight=size)
        return metrics

    def decode(self, outputs: jax.Array | Routed) -> dict[str, jax.Array]:
        """`token` (B, T) int32, the likeliest next one after each."""
        logits = outputs.outputs if isinstance(outputs, Routed) else outputs
        return {"token": jnp.argmax(logits, axis=-1).astype(jnp.int32)}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a token outside the vocabulary.

        Raises:
          DataError: a key is missing, or tokens are no integers (B, T).
        """
        found: dict[int, str] = {}
        for name in ("tokens", "targets"):
            if name not in batch or batch[name].ndim != 2 or batch[name].dtype.kind not in "iu":
                what = f"{batch[name].dtype} {batch[name].shape}" if name in batch else f"only {', '.join(batch)}"
                raise DataError(f"Language modeling needs {name!r}, integers (B, T); there is {what}.")
            low, high = batch[name].min(axis=1), batch[name].max(axis=1)
            for row in np.flatnonzero((low < 0) | (high >= self.vocabulary_size)):
                bad = int(low[row] if low[row] < 0 else high[row])
                found.setdefault(int(row), f"the token {bad} is outside the vocabulary [0, {self.vocabulary_size})")
        return sorted(found.items())

    def _routing(self, routing: Sequence[Routing], weight_B: jax.Array) -> tuple[jax.Array, dict[str, Metric]]:
        """What the routers add to the sum of the losses, each row as often as it has tokens, and how they chose."""
        layers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *routing)
        balance_LB, z_LB = (jax.vmap(partial(fn, by_row=True))(layers) for fn in (load_balance_loss, router_z_loss))
        balance_B = balance_LB.mean(axis=0)
        penalty_B = self.balance_factor * balance_B + self.router_z_factor * z_LB.mean(axis=0)
        chosen_B, dropped_B = layers.assigned.sum(axis=(0, 2)), layers.dropped.sum(axis=0)
        real_B = jnp.where(weight_B > 0, 1.0, 0.0)
        dropped = Mean(total=jnp.sum(dropped_B * real_B), weight=jnp.sum(chosen_B * real_B))
        return jnp.sum(penalty_B * weight_B), {"balance": Mean.of(balance_B, weight_B), "dropped": dropped}

    def _weight(self, batch: Batch) -> jax.Array:
        mask_BT = jnp.asarray(batch["token_mask"], jnp.float32)
        return mask_BT * jnp.asarray(batch["mask"], jnp.float32)[:, None]
