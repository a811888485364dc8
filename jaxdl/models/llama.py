"""Llama. Letters: B batch, T tokens, D features, H heads, G key and value heads, K features of a head, V vocabulary."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import (
    Attention,
    Cache,
    Dense,
    FeedForward,
    Layers,
    MixtureOfExperts,
    Rotary,
    Routed,
    TransformerLayer,
    activation,
    decoder_places,
    tied_logits,
)
from jaxdl.nn.attention import Implementation

INIT = initializers.normal(0.02)


class Llama(nn.Module):
    """A Transformer decoder of text with rotary positions, gated feed-forward layers and normalization by size alone.

    Touvron et al. 2023, "Llama 2: Open Foundation and Fine-Tuned Chat Models". The defaults are Llama 2 7B, with
    6,738,415,616 parameters. Llama 3 8B (Grattafiori et al. 2024) has `vocab_size=128_256, num_kv_heads=8,
    hidden=14_336, rope_base=500_000.0` and 8,030,261,248, and from 3.1 on `rope_factor=8.0,
    rope_original_length=8192` (32.0 in 3.2). With a `window` this is Mistral (Jiang et al. 2023), and with
    `num_experts=8` Mixtral (Jiang et al. 2024).

    Attributes:
      vocab_size: V.
      features: D.
      num_layers: Number of layers.
      num_heads: H.
      num_kv_heads: G, a divisor of H (Ainslie et al. 2023); None for H.
      head_dim: K; None for D / H.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, of their gates.
      num_experts: How many feed-forward layers each layer has to choose from; None for one without a choice.
      experts_per_token: How many of them a token takes.
      expert_capacity: Tokens that an expert takes at most, relative to an even share; None for no limit. On a mesh with
        an axis `expert` give one: without, every device needs every token.
      window: How many tokens a token sees, itself included; None for all before it.
      rope_base: The rotary wavelengths run from 2 pi to 2 pi `rope_base`.
      rope_factor: Positions are divided by it throughout (Chen et al. 2023) where `rope_original_length` is None, else
        at long wavelengths only, by the rule of Llama 3.1.
      rope_original_length: Length that the model was first trained at, for that rule.
      rope_low_frequency: Wavelengths above `rope_original_length / rope_low_frequency` are stretched in full;
      rope_high_frequency: those below `rope_original_length / rope_high_frequency` stay.
      tie_embeddings: Whether the output uses the embeddings of the tokens; otherwise a dense layer `head`.
      attention_bias: Whether the projections of the attention have a bias.
      feedforward_bias: Whether the feed-forward layers have one.
      norm_epsilon: Added to the mean square by the normalizations.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      attention_implementation: See `jaxdl.nn.attend`; None chooses.
      scan: Run the layers as one loop, compiled once; not with a cache.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 32_000
    features: int = 4096
    num_layers: int = 32
    num_heads: int = 32
    num_kv_heads: int | None = None
    head_dim: int | None = None
    hidden: int = 11_008
    activation: str = "silu"
    num_experts: int | None = None
    experts_per_token: int = 2
    expert_capacity: float | None = None
    window: int | None = None
    rope_base: float = 10_000.0
    rope_factor: float = 1.0
    rope_original_length: int | None = None
    rope_low_frequency: float = 1.0
    rope_high_frequency: float = 4.0
    tie_embeddings: bool = False
    attention_bias: bool = False
    feedforward_bias: bool = False
    norm_epsilon: float = 1e-5
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    attention_implementation: Implementation | None = None
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.head_dim is None and self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}: give head_dim.")
        if self.num_heads % self._kv_heads:
            raise ValueError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}.")
        if self._width % 2:
            raise ValueError(f"The rotary embedding turns pairs of features: head_dim={self._width} must be even.")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window={self.window} must be at least 1, or None.")
        if self.num_experts is not None and not 1 <= self.experts_per_token <= self.num_experts:
            raise ValueError(f"experts_per_token={self.experts_per_token} is not from 1 to {self.num_experts}.")
        if self.num_experts is not None and self.feedforward_bias:
            raise ValueError("Experts have no bias: leave out feedforward_bias.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        positions: jax.Array | None = None,
        segments: jax.Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> Any:
        """Gives the logits (B, T, V) of the token after each one, and with a cache also the cache after these tokens.

        With experts and without a cache it gives a `Routed` of the logits.

        Args:
          tokens: Ids, int (B, T).
          token_mask: (B, T), 1 for a token and 0 for padding, which with a cache is behind the tokens; None where
            there is none.
          positions: (B, T); by default the place in the row, or in the cache.
          segments: Number of the document of each token, (B, T), where several are packed into one row: a token sees
            those of its own.
          cache: Of `empty_cache`, or of the call before; it says the positions.
          train: Whether to drop features.
        """
        places, mask = decoder_places(
            tokens, token_mask=token_mask, positions=positions, segments=segments, cache=cache
        )
        embedding = nn.Embed(
            self.vocab_size, self.features, dtype=self.dtype, embedding_init=INIT, name="token_embedding"
        )
        x_BTD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(embedding(tokens))
        x_BTD, entries = self._layers(scan=self.scan and cache is None)(
            x_BTD,
            own=() if cache is None else cache.own,
            mask=mask,
            positions_BT=places,
            token_mask_BT=token_mask,
            train=train,
        )
        x_BTD = nn.RMSNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="final_norm")(x_BTD)
        if self.tie_embeddings:
            logits = tied_logits(embedding, x_BTD)
        else:
            logits = Dense(self.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=INIT, name="head")(x_BTD)
        if cache is not None:
            return logits, cache.after(entries, token_mask, tokens.shape[1])
        return logits if self.num_experts is None else Routed(logits, entries)

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """A cache with room for `length` tokens a row."""
        dtype = self.dtype or jnp.float32
        return Cache.zeros(self.num_layers, batch_size, length, self._kv_heads, self._width, dtype)

    def _layers(self, scan: bool) -> Layers:
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        rotary = Rotary(
            base=self.rope_base,
            factor=self.rope_factor,
            original_length=self.rope_original_length,
            low_frequency=self.rope_low_frequency,
            high_frequency=self.rope_high_frequency,
        )
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            causal=True,
            window=self.window,
            rotary=rotary,
            use_bias=self.attention_bias,
            dropout_rate=self.attention_dropout_rate,
            implementation=self.attention_implementation,
            **options,
        )
        norm = partial(nn.RMSNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        layer = partial(
            TransformerLayer,
            attention,
            self._feedforward(options),
            norm,
            routed=self.num_experts is not None,
            dropout_rate=self.dropout_rate,
        )
        return Layers(layer, self.num_layers, scan=scan, remat=self.remat, name="layers")

    def _feedforward(self, options: dict[str, Any]) -> Callable[..., nn.Module]:
        options = {"activation": self.activation, "gated": True, **options}
        if self.num_experts is None:
            return partial(FeedForward, self.features, self.hidden, use_bias=self.feedforward_bias, **options)
        return partial(
            MixtureOfExperts,
            self.features,
            self.hidden,
            self.num_experts,
            self.experts_per_token,
            capacity_factor=self.expert_capacity,
            **options,
        )

    @property
    def _kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def _width(self) -> int:
        return self.head_dim or self.features // self.num_heads
