"""Tasks on top of a text encoder. Letters: B batch, T tokens, D features, C classes, V vocabulary.

An encoder is a module `(tokens, *, token_mask, token_types, train)` that gives a dict of "hidden" (B, T, D) and,
maybe, "pooled" (B, D), such as `Bert`. Its parameters are under `encoder/`.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.models.bert import INIT
from jaxdl.nn import Dense, activation, pool_tokens

Pooling = Literal["first", "mean", "pooled"]
_POOLINGS = ("first", "mean", "pooled")
_HIDDEN = -1e9


class TextClassifier(nn.Module):
    """Classes of a text, from one vector that an encoder makes of it.

    Attributes:
      encoder: Encoder of tokens.
      num_classes: C, or None for the features that the head would see.
      pooling: "first" takes the first token, "mean" the mean of the tokens that are no padding, and "pooled" the
        encoder's own summary, as BERT does.
      transform: Whether a dense layer with tanh comes before the head, as in RoBERTa.
      dropout_rate: Probability that a feature is dropped in training before each of these layers.
      dtype: Type of the computation in these layers; the encoder has its own.
    """

    encoder: nn.Module
    num_classes: int | None
    pooling: Pooling = "first"
    transform: bool = False
    dropout_rate: float = 0.1
    dtype: str | None = None

    def __post_init__(self) -> None:
        _check_pooling(self.pooling)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Maps tokens (B, T) to logits (B, C)."""
        outputs = self.encoder(tokens, token_mask=token_mask, token_types=token_types, train=train)
        x_BD = pool(outputs, token_mask, self.pooling)
        drop = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")
        if self.transform:
            dense = Dense(x_BD.shape[-1], dtype=self.dtype, kernel_init=INIT, name="transform")
            x_BD = jnp.tanh(dense(drop(x_BD)))
        if self.num_classes is None:
            return x_BD
        return Dense(self.num_classes, dtype=self.dtype, kernel_init=INIT, name="head")(drop(x_BD))


class SpanExtractor(nn.Module):
    """Where an answer begins and ends in a text (Devlin et al. 2019, section 4.2).

    Attributes:
      encoder: Encoder of tokens.
      dtype: Type of the computation in the head; the encoder has its own.
    """

    encoder: nn.Module
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        train: bool,
    ) -> dict[str, jax.Array]:
        """Maps tokens (B, T) to logits "start" and "end" (B, T), float32 and -1e9 at padding."""
        outputs = self.encoder(tokens, token_mask=token_mask, token_types=token_types, train=train)
        logits_BT2 = Dense(2, dtype=self.dtype, kernel_init=INIT, name="head")(outputs["hidden"]).astype(jnp.float32)
        if token_mask is not None:
            logits_BT2 = jnp.where((token_mask != 0)[..., None], logits_BT2, _HIDDEN)
        return {"start": logits_BT2[..., 0], "end": logits_BT2[..., 1]}


class MaskedLanguageModel(nn.Module):
    """Logits of the token at each place (Devlin et al. 2019, section 3.1), by the encoder's own token embedding.

    Attributes:
      encoder: Encoder with a method `token_logits`, such as `Bert`.
      activation: Name in `jaxdl.nn.activation`, or a function, between the two products.
      norm_epsilon: Added to the variance by the normalization.
      dtype: Type of the computation in the head; the encoder has its own.
    """

    encoder: nn.Module
    activation: str = "gelu_exact"
    norm_epsilon: float = 1e-12
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        places: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Maps tokens (B, T) to logits (B, T, V); or (B, K, V) where only those at `places` (B, K) are wanted."""
        outputs = self.encoder(tokens, token_mask=token_mask, token_types=token_types, train=train)
        x_BTD = outputs["hidden"]
        if places is not None:
            x_BTD = jnp.take_along_axis(x_BTD, places[..., None], axis=1)
        dense = Dense(x_BTD.shape[-1], dtype=self.dtype, kernel_init=INIT, name="transform")
        x_BTD = activation(self.activation)(dense(x_BTD))
        x_BTD = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="transform_norm")(x_BTD)
        logits_BTV = self.encoder.token_logits(x_BTD)
        bias_V = self.param("output_bias", nn.initializers.zeros, logits_BTV.shape[-1:], jnp.float32)
        return logits_BTV + bias_V.astype(logits_BTV.dtype)[None, None]


class SentenceEncoder(nn.Module):
    """One vector of a text, whose product with that of another says how alike they mean.

    Reimers and Gurevych 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks".

    Attributes:
      encoder: Encoder of tokens.
      pooling: As in `TextClassifier`.
      normalize: Whether vectors have length 1, so that the product is the cosine.
    """

    encoder: nn.Module
    pooling: Pooling = "mean"
    normalize: bool = True

    def __post_init__(self) -> None:
        _check_pooling(self.pooling)
        super().__post_init__()

    def __call__(
        self,
        tokens: jax.Array,
        *,
        token_mask: jax.Array | None = None,
        token_types: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Maps tokens (B, T) to vectors (B, D), float32."""
        outputs = self.encoder(tokens, token_mask=token_mask, token_types=token_types, train=train)
        x_BD = pool(outputs, token_mask, self.pooling).astype(jnp.float32)
        if not self.normalize:
            return x_BD
        return x_BD * jax.lax.rsqrt(jnp.maximum(jnp.sum(x_BD**2, axis=-1, keepdims=True), 1e-24))


def pool(outputs: Mapping[str, jax.Array], token_mask: jax.Array | None, pooling: Pooling) -> jax.Array:
    """One vector (B, D) of what an encoder gives.

    >>> hidden = jnp.array([[[1.0], [3.0], [9.0]]])
    >>> pool({"hidden": hidden}, jnp.array([[1, 1, 0]]), "mean")
    Array([[2.]], dtype=float32)
    """
    if pooling == "pooled":
        if "pooled" not in outputs:
            raise ValueError("pooling='pooled' needs an encoder that pools: use 'first' or 'mean', or pooler=True.")
        return outputs["pooled"]
    hidden_BTD = outputs["hidden"]
    return hidden_BTD[:, 0] if pooling == "first" else pool_tokens(hidden_BTD, token_mask, "mean")


def _check_pooling(pooling: str) -> None:
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling must be one of {_POOLINGS}, not {pooling!r}.")
