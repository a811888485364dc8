"""BERT and RoBERTa. Letters: B batch, T tokens, D features, V vocabulary."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import (
    Attention,
    Dense,
    FeedForward,
    Layers,
    TransformerLayer,
    activation,
    both,
    segment_attention_mask,
    tied_logits,
    token_attention_mask,
)

INIT = initializers.truncated_normal(0.02)
"""How BERT begins: normal with deviation 0.02, cut at twice that (Devlin et al. 2019, published code)."""


class Bert(nn.Module):
    """A bidirectional Transformer encoder of text, normalized after each residual sum.

    Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding". Base (the
    defaults) has 109,482,240 parameters, large (`num_layers=24, features=1024, num_heads=16, hidden=4096`)
    335,141,888. `roberta` makes RoBERTa; encoders distilled from them, such as MiniLM, are this module at other sizes.

    Attributes:
      vocab_size: V.
      max_length: Longest input, in tokens.
      num_types: Kinds of tokens, such as first and second sentence; 0 for none.
      features: D.
      num_layers: Number of layers.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, or a function.
      padding_token: None counts positions from 0. An id counts them as RoBERTa does, over the tokens other than it and
        from one above it.
      pooler: Whether there is a dense layer with tanh on the first token, for "pooled".
      norm_epsilon: Added to the variance by the normalizations.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      scan: Run the layers as one loop, compiled once.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 30_522
    max_length: int = 512
    num_types: int = 2
    features: int = 768
    num_layers: int = 12
    num_heads: int = 12
    hidden: int = 3072
    activation: str = "gelu_exact"
    padding_token: int | None = None
    pooler: bool = True
    norm_epsilon: float = 1e-12
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
        activation(self.activation)
        super().__post_init__()

    def setup(self) -> None:
        """Makes the layers."""
        embed = partial(nn.Embed, features=self.features, dtype=self.dtype, embedding_init=INIT)
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        first = 0 if self.padding_token is None else self.padding_token + 1
        self.token_embedding = embed(self.vocab_size)
        self.position_embedding = embed(first + self.max_length)
        if self.num_types:
            self.type_embedding = embed(self.num_types)
        self.embedding_norm = norm()
        self.embedding_dropout = nn.Dropout(self.dropout_rate)
        attention = partial(
            Attention, self.features, self.num_heads, dropout_rate=self.attention_dropout_rate, **options
        )
        feedforward = partial(FeedForward, self.features, self.hidden, activation=self.activation, **options)
        layer = partial(TransformerLayer, attention, feedforward, norm, order="post", dropout_rate=self.dropout_rate)
        self.layers = Layers(layer, self.num_layers, scan=self.scan, remat=self.remat)
        if self.pooler:
            self.pooler_dense = Dense(self.features, name="pooler", **options)

    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        positions: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool,
    ) -> dict[str, jax.Array]:
        """Gives "hidden" (B, T, D) and, with a pooler, "pooled" (B, D).

        Args:
          tokens: Ids, int (B, T).
          token_mask: (B, T), 1 for a token and 0 for padding, which no token sees; None where there is none.
          token_types: Ids, int (B, T); None for 0 everywhere.
          positions: (B, T), instead of those that `padding_token` says.
          segments: Number of the document of each token, (B, T), where several are packed into one row: a token sees
            those of its own.
          train: Whether to drop features.
        """
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"{tokens.shape[1]} tokens are more than max_length={self.max_length}.")
        x_BTD = self._embed(tokens, token_types, self._positions(tokens) if positions is None else positions)
        x_BTD = self.embedding_dropout(self.embedding_norm(x_BTD), deterministic=not train)
        mask = both(token_attention_mask(token_mask), segment_attention_mask(segments))
        hidden_BTD, _ = self.layers(x_BTD, mask=mask, train=train)
        if not self.pooler:
            return {"hidden": hidden_BTD}
        return {"hidden": hidden_BTD, "pooled": jnp.tanh(self.pooler_dense(hidden_BTD[:, 0]))}

    def token_logits(self, x_BTD: jax.Array) -> jax.Array:
        """Products of (..., D) with the embedding of every token: (..., V)."""
        return tied_logits(self.token_embedding, x_BTD)

    def _embed(self, tokens: jax.Array, token_types: jax.Array | None, positions: jax.Array) -> jax.Array:
        x_BTD = self.token_embedding(tokens)
        if self.num_types:
            types = jnp.zeros_like(tokens) if token_types is None else token_types
            x_BTD = x_BTD + self.type_embedding(types)
        elif token_types is not None:
            raise ValueError("token_types were given to a model of num_types=0.")
        return x_BTD + self.position_embedding(positions)

    def _positions(self, tokens: jax.Array) -> jax.Array:
        if self.padding_token is None:
            return jnp.arange(tokens.shape[1])[None]
        real = (tokens != self.padding_token).astype(jnp.int32)
        return jnp.cumsum(real, axis=1) * real + self.padding_token


def roberta(
    *,
    vocab_size: int = 50_265,
    max_length: int = 512,
    num_types: int = 1,
    features: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden: int = 3072,
    activation: str = "gelu_exact",
    padding_token: int = 1,
    pooler: bool = False,
    norm_epsilon: float = 1e-5,
    dropout_rate: float = 0.1,
    attention_dropout_rate: float = 0.1,
    scan: bool = False,
    remat: bool = False,
    dtype: str | None = None,
) -> Bert:
    """RoBERTa (Liu et al. 2019): BERT trained longer and without sentence pairs, whose positions skip padding.

    Base (the defaults) has 124,055,040 parameters, large 354,310,144. A pooler, which some published files hold though
    it was not trained, has features x (features + 1) more. Arguments as in `Bert`.
    """
    return Bert(
        vocab_size=vocab_size,
        max_length=max_length,
        num_types=num_types,
        features=features,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden=hidden,
        activation=activation,
        padding_token=padding_token,
        pooler=pooler,
        norm_epsilon=norm_epsilon,
        dropout_rate=dropout_rate,
        attention_dropout_rate=attention_dropout_rate,
        scan=scan,
        remat=remat,
        dtype=dtype,
    )
