"""T5. Letters: B batch, S tokens of the input, T tokens of the output, D features, V vocabulary."""

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
    RelativeBias,
    TransformerLayer,
    activation,
    decoder_places,
    tied_logits,
    token_attention_mask,
)

INIT = initializers.variance_scaling(1.0, "fan_in", "normal")


class T5(nn.Module):
    """A Transformer from text to text whose layers know positions only by a bias on the distance.

    Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer". Sizes
    (layers of each side, D, heads, hidden) and parameters: small (6, 512, 8, 2048; the defaults) 60,506,624; base (12,
    768, 12, 3072) 222,903,552; large (24, 1024, 16, 4096) 737,668,096. Version 1.1 has gated layers and an output of
    its own: `gated=True, activation="gelu", tie_embeddings=False`; small (8, 512, 6, 1024) 76,961,152, base (12, 768,
    12, 2048) 247,577,856. Attention is not scaled by its width, which the initialization of the queries makes up for.

    Attributes:
      vocab_size: V.
      features: D.
      num_layers: Layers of the encoder.
      num_decoder_layers: Layers of the decoder; None for as many.
      num_heads: Attention heads of a layer.
      head_dim: Features of a head.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, of the feed-forward layers.
      gated: Whether those are gated (Shazeer 2020).
      num_buckets: Distances that the bias tells apart.
      max_distance: From here on, distances count as one.
      tie_embeddings: Whether the output uses the embeddings of the tokens; otherwise a dense layer `head`.
      scale_logits: Whether what comes before the output is divided by the root of D; None for `tie_embeddings`.
      norm_epsilon: Added to the mean square by the normalizations.
      dropout_rate: Probability that a feature of an embedding, branch or hidden layer, or an attention weight, is
        dropped in training.
      scan: Run the layers as one loop, compiled once; not with a cache.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 32_128
    features: int = 512
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    head_dim: int = 64
    hidden: int = 2048
    activation: str = "relu"
    gated: bool = False
    num_buckets: int = 32
    max_distance: int = 128
    tie_embeddings: bool = True
    scale_logits: bool | None = None
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.1
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        if self.num_buckets < 4 or self.num_buckets % 4:
            raise ValueError(
                f"num_buckets={self.num_buckets} must be a multiple of 4: half of a direction's are exact."
            )
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"max_distance={self.max_distance} must be above half of num_buckets={self.num_buckets}, the distances "
                "that have a bucket each."
            )
        super().__post_init__()

    def setup(self) -> None:
        """Makes the embedding, the two sides and the output."""
        self.token_embedding = nn.Embed(
            self.vocab_size, self.features, dtype=self.dtype, embedding_init=initializers.normal(1.0)
        )
        self.encoder = self._side(self.num_layers, decoder=False)
        self.decoder = self._side(self._decoder_layers, decoder=True)
        if not self.tie_embeddings:
            self.head = Dense(self.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=INIT)

    def __call__(
        self,
        tokens: jax.Array,
        targets: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        target_mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Gives the logits (B, T, V) of the token after each target.

        Args:
          tokens: Ids of the input, int (B, S).
          targets: Ids of the output so far, int (B, T); they begin with one that stands for the start.
          token_mask: (B, S), 1 for a token and 0 for padding; None where there is none.
          target_mask: The same of the targets, (B, T).
          train: Whether to drop features.
        """
        context = self.encode(tokens, token_mask=token_mask, train=train)
        return self.decode(targets, context, token_mask=token_mask, target_mask=target_mask, train=train)

    def encode(self, tokens: jax.Array, *, token_mask: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Maps the input's ids (B, S) to the context (B, S, D)."""
        places = jnp.arange(tokens.shape[1])[None]
        mask = token_attention_mask(token_mask)
        context_BSD, _ = self.encoder(self.token_embedding(tokens), places, places, mask=mask, train=train)
        return context_BSD

    def decode(
        self,
        targets: jax.Array,
        context: jax.Array | None = None,
        *,
        token_mask: jax.Array | None = None,
        target_mask: jax.Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> Any:
        """Gives logits (B, T, V), and with a cache also the cache after these tokens.

        Args:
          targets: Ids, int (B, T).
          context: (B, S, D) of `encode`; with a cache, in the first call only.
          token_mask: (B, S), the mask of the context, in every call.
          target_mask: (B, T), 1 for a token and 0 for padding, which with a cache is behind the tokens.
          cache: Of `empty_cache`, or of the call before.
          train: Whether to drop features.
        """
        queries, mask = decoder_places(targets, token_mask=target_mask, cache=cache)
        x_BTD, entries = self.decoder(
            self.token_embedding(targets),
            queries,
            jnp.arange(targets.shape[1] if cache is None else cache.room)[None],
            mask=mask,
            cache=cache,
            context_BSD=context,
            context_mask=token_attention_mask(token_mask),
            train=train,
        )
        logits = self._logits(x_BTD)
        return logits if cache is None else (logits, cache.after(entries, target_mask, targets.shape[1]))

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """A cache with room for `length` tokens a row."""
        dtype = self.dtype or jnp.float32
        return Cache.zeros(self._decoder_layers, batch_size, length, self.num_heads, self.head_dim, dtype)

    def _logits(self, x_BTD: jax.Array) -> jax.Array:
        if self.tie_embeddings if self.scale_logits is None else self.scale_logits:
            x_BTD = x_BTD * self.features**-0.5
        if not self.tie_embeddings:
            return self.head(x_BTD)
        return tied_logits(self.token_embedding, x_BTD)

    def _side(self, count: int, *, decoder: bool) -> "T5Stack":
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            head_dim=self.head_dim,
            scale=1.0,
            use_bias=False,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            kernel_init=INIT,
            query_init=initializers.normal((self.features * self.head_dim) ** -0.5),
        )
        feedforward = partial(
            FeedForward,
            self.features,
            self.hidden,
            activation=self.activation,
            gated=self.gated,
            use_bias=False,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            kernel_init=INIT,
        )
        norm = partial(nn.RMSNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        layer = partial(
            TransformerLayer,
            partial(attention, causal=decoder),
            feedforward,
            norm,
            cross_attention=partial(attention, cross=True) if decoder else None,
            dropout_rate=self.dropout_rate,
        )
        bias = partial(
            RelativeBias,
            self.num_heads,
            self.num_buckets,
            self.max_distance,
            bidirectional=not decoder,
            embedding_init=initializers.normal(self.features**-0.5),
        )
        layers = partial(Layers, layer, count, remat=self.remat)
        return T5Stack(layers=layers, position_bias=bias, norm=norm, scan=self.scan, dropout_rate=self.dropout_rate)

    @property
    def _decoder_layers(self) -> int:
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers


class T5Stack(nn.Module):
    """Layers that share one bias on the distance, and a normalization.

    Attributes:
      layers: Makes the layers.
      position_bias: Makes the bias.
      norm: Makes the normalization.
      scan: Whether to run the layers as one loop where there is no cache.
      dropout_rate: Probability that a feature is dropped in training before the layers and after them.
    """

    layers: Any
    position_bias: Any
    norm: Any
    scan: bool
    dropout_rate: float

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        queries_BT: jax.Array,
        keys_BS: jax.Array,
        *,
        cache: Cache | None = None,
        train: bool,
        **shared: Any,
    ) -> tuple[jax.Array, tuple]:
        """Maps (B, T, D) to (B, T, D) and each layer's cache; positions are those of the tokens and of all keys."""
        dropout = partial(nn.Dropout, self.dropout_rate, deterministic=not train)
        x_BTD, entries = self.layers(scan=self.scan and cache is None, name="layers")(
            dropout(name="dropout")(x_BTD),
            own=() if cache is None else cache.own,
            bias=self.position_bias(name="position_bias")(queries_BT, keys_BS),
            positions_BT=queries_BT,
            train=train,
            **shared,
        )
        return dropout(name="final_dropout")(self.norm(name="final_norm")(x_BTD)), entries
