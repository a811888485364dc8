"""The Transformer. Letters: B batch, S tokens of the input, T tokens of the output, D features, V vocabulary."""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import (
    Attention,
    Cache,
    FeedForward,
    Layers,
    TransformerLayer,
    activation,
    decoder_places,
    sinusoids,
    tied_logits,
    token_attention_mask,
)

INIT = initializers.xavier_uniform()


class Transformer(nn.Module):
    """An encoder and a decoder of attention alone, from one sequence of tokens to another.

    Vaswani et al. 2017, "Attention Is All You Need". One table embeds the tokens of both sides, scaled by the root of
    D, and gives the output (section 3.4). The defaults are the base model; with the paper's shared vocabulary of about
    37,000 tokens it has 63,082,496 parameters, where table 3 says 65 million. The big one (`features=1024,
    num_heads=16, hidden=4096, dropout_rate=0.3`) has 214,245,376; table 3 says 213 million.

    Attributes:
      vocab_size: V, of both sides.
      features: D.
      num_layers: Layers of the encoder.
      num_decoder_layers: Layers of the decoder; None for as many.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, of the feed-forward layers.
      order: "post" normalizes after each residual sum, as in the paper; "pre" before each branch and at the end of
        each side (Xiong et al. 2020), which trains without warmup.
      use_bias: Whether the projections of the attention have a bias.
      norm_epsilon: Added to the variance by the normalizations.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training (section 5.4).
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      scan: Run the layers as one loop, compiled once; not with a cache.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 37_000
    features: int = 512
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    hidden: int = 2048
    activation: str = "relu"
    order: Literal["post", "pre"] = "post"
    use_bias: bool = True
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads or self.features % 2:
            raise ValueError(f"features={self.features} must be even and a multiple of num_heads={self.num_heads}.")
        if self.order not in ("post", "pre"):
            raise ValueError(f"order must be 'post' or 'pre', not {self.order!r}.")
        activation(self.activation)
        super().__post_init__()

    def setup(self) -> None:
        """Makes the embedding and the two sides."""
        init = initializers.normal(self.features**-0.5)
        self.token_embedding = nn.Embed(self.vocab_size, self.features, dtype=self.dtype, embedding_init=init)
        self.encoder = self._side(self.num_layers, decoder=False)
        self.decoder = self._side(self._decoder_layers, decoder=True)

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
        count = tokens.shape[1]
        x_BSD = self._embed(tokens, jnp.arange(count)[None], count)
        context_BSD, _ = self.encoder(x_BSD, mask=token_attention_mask(token_mask), train=train)
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
        count = targets.shape[1]
        places, mask = decoder_places(targets, token_mask=target_mask, cache=cache)
        x_BTD, entries = self.decoder(
            self._embed(targets, places, count if cache is None else cache.room),
            mask=mask,
            cache=cache,
            positions_BT=places,
            context_BSD=context,
            context_mask=token_attention_mask(token_mask),
            train=train,
        )
        logits = tied_logits(self.token_embedding, x_BTD)
        return logits if cache is None else (logits, cache.after(entries, target_mask, count))

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """A cache with room for `length` tokens a row."""
        width = self.features // self.num_heads
        return Cache.zeros(self._decoder_layers, batch_size, length, self.num_heads, width, self.dtype or jnp.float32)

    def _embed(self, tokens_BT: jax.Array, places_BT: jax.Array, length: int) -> jax.Array:
        x_BTD = self.token_embedding(tokens_BT) * math.sqrt(self.features)
        return x_BTD + jnp.asarray(sinusoids(length, self.features))[places_BT].astype(x_BTD.dtype)

    def _side(self, count: int, *, decoder: bool) -> "TransformerStack":
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            use_bias=self.use_bias,
            dropout_rate=self.attention_dropout_rate,
            **options,
        )
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        layer = partial(
            TransformerLayer,
            partial(attention, causal=decoder),
            partial(FeedForward, self.features, self.hidden, activation=self.activation, **options),
            norm,
            cross_attention=partial(attention, cross=True) if decoder else None,
            order=self.order,
            dropout_rate=self.dropout_rate,
        )
        return TransformerStack(
            layers=partial(Layers, layer, count, remat=self.remat),
            norm=norm if self.order == "pre" else None,
            scan=self.scan,
            dropout_rate=self.dropout_rate,
        )

    @property
    def _decoder_layers(self) -> int:
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers


class TransformerStack(nn.Module):
    """The layers of one side.

    Attributes:
      layers: Makes the layers.
      norm: Makes a normalization after them, or None.
      scan: Whether to run the layers as one loop where there is no cache.
      dropout_rate: Probability that a feature is dropped in training before the layers.
    """

    layers: Any
    norm: Any
    scan: bool
    dropout_rate: float

    @nn.compact
    def __call__(
        self, x_BTD: jax.Array, *, cache: Cache | None = None, train: bool, **shared: Any
    ) -> tuple[jax.Array, tuple]:
        """Maps (B, T, D) to (B, T, D) and each layer's cache."""
        x_BTD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BTD)
        own = () if cache is None else cache.own
        layers = self.layers(scan=self.scan and cache is None, name="layers")
        x_BTD, entries = layers(x_BTD, own=own, train=train, **shared)
        return (x_BTD if self.norm is None else self.norm(name="final_norm")(x_BTD)), entries
