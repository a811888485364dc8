"""GPT-2. Letters: B batch, T tokens, D features, V vocabulary."""

import math
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
    TransformerLayer,
    activation,
    decoder_places,
    tied_logits,
)
from jaxdl.nn.attention import Implementation

INIT = initializers.normal(0.02)


class GPT2(nn.Module):
    """A Transformer decoder of text with learned positions, normalized before each branch.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Sizes (layers, D, heads) and parameters:
    small (12, 768, 12; the defaults) 124,439,808; medium (24, 1024, 16) 354,823,168; large (36, 1280, 20) 774,030,080;
    XL (48, 1600, 25) 1,557,611,200. The kernels that end a branch begin smaller by the square root of the number of
    branches (section 2.3).

    Attributes:
      vocab_size: V.
      max_length: Longest input, in tokens.
      features: D.
      num_layers: Number of layers.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers; None for 4 D.
      activation: Name in `jaxdl.nn.activation`, of the feed-forward layers.
      tie_embeddings: Whether the output uses the embeddings of the tokens; otherwise a dense layer `head`.
      norm_epsilon: Added to the variance by the normalizations.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      attention_implementation: See `jaxdl.nn.attend`; None chooses.
      scan: Run the layers as one loop, compiled once; not with a cache.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 50_257
    max_length: int = 1024
    features: int = 768
    num_layers: int = 12
    num_heads: int = 12
    hidden: int | None = None
    activation: str = "gelu"
    tie_embeddings: bool = True
    norm_epsilon: float = 1e-5
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    attention_implementation: Implementation | None = None
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
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

        Args:
          tokens: Ids, int (B, T).
          token_mask: (B, T), 1 for a token and 0 for padding, which with a cache is behind the tokens; None where
            there is none.
          positions: (B, T); by default the place in the row, or in the cache.
          segments: Number of the document of each token, (B, T), where several are packed into one row: a token sees
            those of its own. Give `positions` that start anew in each.
          cache: Of `empty_cache`, or of the call before; it says the positions.
          train: Whether to drop features.
        """
        count = tokens.shape[1]
        if count > self.max_length:
            raise ValueError(f"{count} tokens are more than max_length={self.max_length}.")
        places, mask = decoder_places(
            tokens, token_mask=token_mask, positions=positions, segments=segments, cache=cache
        )
        embed = partial(nn.Embed, features=self.features, dtype=self.dtype, embedding_init=INIT)
        token_embedding = embed(self.vocab_size, name="token_embedding")
        x_BTD = token_embedding(tokens) + embed(self.max_length, name="position_embedding")(places)
        x_BTD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BTD)
        x_BTD, entries = self._layers(scan=self.scan and cache is None)(
            x_BTD, own=() if cache is None else cache.own, mask=mask, positions_BT=places, train=train
        )
        x_BTD = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="final_norm")(x_BTD)
        if self.tie_embeddings:
            logits = tied_logits(token_embedding, x_BTD)
        else:
            logits = Dense(self.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=INIT, name="head")(x_BTD)
        return logits if cache is None else (logits, cache.after(entries, token_mask, count))

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """A cache with room for `length` tokens a row, at most `max_length`."""
        if length > self.max_length:
            raise ValueError(f"A cache of {length} tokens is longer than max_length={self.max_length}.")
        width = self.features // self.num_heads
        return Cache.zeros(self.num_layers, batch_size, length, self.num_heads, width, self.dtype or jnp.float32)

    def _layers(self, scan: bool) -> Layers:
        last = initializers.normal(0.02 / math.sqrt(2 * self.num_layers))
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            causal=True,
            dropout_rate=self.attention_dropout_rate,
            implementation=self.attention_implementation,
            out_init=last,
            **options,
        )
        hidden = self.hidden or 4 * self.features
        feedforward = partial(FeedForward, self.features, hidden, activation=self.activation, down_init=last, **options)
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        layer = partial(TransformerLayer, attention, feedforward, norm, dropout_rate=self.dropout_rate)
        return Layers(layer, self.num_layers, scan=scan, remat=self.remat, name="layers")
