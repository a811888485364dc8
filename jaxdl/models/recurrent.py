"""Recurrent models of text and other sequences. Letters: B batch, T tokens, F input features, D features, C classes."""

from typing import Any, Literal

import jax
from flax import linen as nn

from jaxdl.nn import Activation, Dense, activation, pool_tokens, tied_logits
from jaxdl.nn.recurrent import Kind, Recurrent, last_hidden, length_mask

Pooling = Literal["last", "mean", "max"]


class RecurrentClassifier(nn.Module):
    """A classifier of sequences: embedding, a stack of recurrent layers, pooling over the tokens, head.

    Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; in two directions, Graves and Schmidhuber 2005,
    "Framewise Phoneme Classification with Bidirectional LSTM". `num_classes=None` returns the pooled features.

    Attributes:
      num_classes: C, or None for no head.
      vocab_size: Number of tokens of the embedding; None where the inputs are features already.
      embedding_dim: Features of a token.
      features: Hidden features per direction.
      kind: What cell; see `jaxdl.nn.RecurrentCell`.
      num_layers: How many recurrent layers.
      bidirectional: Whether they run both ways.
      pooling: The final hidden states of the last layer ("last"), or the mean or maximum of its outputs over the real
        tokens.
      activation: Of the cell, in place of tanh.
      word_dropout_rate: Probability that a token's embedding becomes zero in training.
      dropout_rate: Probability that a feature of an embedding, of a layer's output or of the pooled features is
        dropped in training.
      unroll: Steps of the loop over the tokens that are compiled as one.
      remat: Whether to recompute the gates in the backward pass instead of keeping them.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    vocab_size: int | None = None
    embedding_dim: int = 128
    features: int = 128
    kind: Kind = "lstm"
    num_layers: int = 1
    bidirectional: bool = False
    pooling: Pooling = "last"
    activation: str | Activation = "tanh"
    word_dropout_rate: float = 0.0
    dropout_rate: float = 0.0
    unroll: int = 1
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        if self.pooling not in ("last", "mean", "max"):
            raise ValueError(f"pooling must be 'last', 'mean' or 'max', not {self.pooling!r}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array | None = None,
        token_mask: jax.Array | None = None,
        features: jax.Array | None = None,
        lengths: jax.Array | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        """Maps `tokens` (B, T), or `features` (B, T, F), to logits (B, C).

        Padding is told by `token_mask` (B, T) or by `lengths` (B,); without either, all tokens are real.
        """
        x_BTD = self._embed(tokens, features, train)
        if lengths is not None:
            token_mask = length_mask(lengths, x_BTD.shape[1])
        drop = nn.Dropout(self.dropout_rate, deterministic=not train, name="embed_dropout")
        encoder = Recurrent(
            self.features,
            self.kind,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout_rate=self.dropout_rate,
            activation=self.activation,
            unroll=self.unroll,
            remat=self.remat,
            dtype=self.dtype,
            name="encoder",
        )
        outputs_BTD, final = encoder(drop(x_BTD), token_mask=token_mask, train=train)
        pooled_BD = last_hidden(final) if self.pooling == "last" else pool_tokens(outputs_BTD, token_mask, self.pooling)
        if self.num_classes is None:
            return pooled_BD
        pooled_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(pooled_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(pooled_BD)

    def _embed(self, tokens: jax.Array | None, features: jax.Array | None, train: bool) -> jax.Array:
        given, expected = (tokens, "tokens") if self.vocab_size is not None else (features, "features")
        if given is None or (tokens is not None and features is not None):
            raise ValueError(
                f"A RecurrentClassifier with vocab_size={self.vocab_size} takes {expected}, and only those."
            )
        if self.vocab_size is None:
            return given
        x_BTD = nn.Embed(self.vocab_size, self.embedding_dim, dtype=self.dtype, name="embed", parent=self)(given)
        return drop_words(self, x_BTD, self.word_dropout_rate, train)


class BagOfEmbeddings(nn.Module):
    """A classifier of texts by the mean of their tokens' embeddings, and dense layers where asked.

    Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification", without hidden layers; Iyyer et al. 2015,
    "Deep Unordered Composition Rivals Syntactic Methods", with them. `num_classes=None` returns the features before
    the head.

    Attributes:
      num_classes: C, or None for no head.
      vocab_size: Number of tokens.
      embedding_dim: Features of a token.
      widths: Width of each hidden layer.
      activation: Of the hidden layers.
      word_dropout_rate: Probability that a token is left out of the mean in training.
      dropout_rate: Probability that a feature of the mean or of a hidden layer is dropped in training.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    vocab_size: int
    embedding_dim: int = 128
    widths: tuple[int, ...] = ()
    activation: str | Activation = "relu"
    word_dropout_rate: float = 0.0
    dropout_rate: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: jax.Array, token_mask: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Maps `tokens` (B, T) to logits (B, C)."""
        x_BTD = nn.Embed(self.vocab_size, self.embedding_dim, dtype=self.dtype, name="embed")(tokens)
        if train and self.word_dropout_rate:
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.word_dropout_rate, tokens.shape)
            token_mask = kept if token_mask is None else kept & (token_mask != 0)
        x_BD = pool_tokens(x_BTD, token_mask, "mean")
        for index, width in enumerate(self.widths):
            x_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"dropout_{index}")(x_BD)
            x_BD = activation(self.activation)(Dense(width, dtype=self.dtype, name=f"hidden_{index}")(x_BD))
        if self.num_classes is None:
            return x_BD
        x_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(x_BD)


class RecurrentLanguageModel(nn.Module):
    """A language model: embedding, a stack of recurrent layers, and the logits of each next token.

    Zaremba et al. 2014, "Recurrent Neural Network Regularization": dropout on what goes up, not on what goes on in
    time. Of 10,000 words, its medium model is `features=650, num_layers=2` with 19,775,200 parameters, its large one
    `features=1500` with 66,022,000.

    Attributes:
      vocab_size: V, the number of tokens.
      features: Features of an embedding and of each layer.
      kind: What cell; see `jaxdl.nn.RecurrentCell`.
      num_layers: How many recurrent layers.
      activation: Of the cell, in place of tanh.
      dropout_rate: Probability that a feature of an embedding or of a layer's output is dropped in training.
      tied: Whether the head's kernel is the embedding (Press and Wolf 2017).
      unroll: Steps of the loop over the tokens that are compiled as one.
      remat: Whether to recompute the gates in the backward pass instead of keeping them.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int
    features: int = 650
    kind: Kind = "lstm"
    num_layers: int = 2
    activation: str | Activation = "tanh"
    dropout_rate: float = 0.0
    tied: bool = False
    unroll: int = 1
    remat: bool = False
    dtype: str | None = None

    def __call__(self, tokens: jax.Array, token_mask: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Maps `tokens` (B, T) to the logits (B, T, V) of the tokens that follow them."""
        return self.read(tokens, token_mask, train=train)[0]

    @nn.compact
    def read(
        self, tokens: jax.Array, token_mask: jax.Array | None = None, state: Any = None, *, train: bool = False
    ) -> tuple[jax.Array, Any]:
        """The logits and the state after the tokens, from the state before them (`Recurrent`'s; None for zeros)."""
        drop = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")
        embed = nn.Embed(self.vocab_size, self.features, dtype=self.dtype, name="embed")
        layers = Recurrent(
            self.features,
            self.kind,
            num_layers=self.num_layers,
            dropout_rate=self.dropout_rate,
            activation=self.activation,
            unroll=self.unroll,
            remat=self.remat,
            dtype=self.dtype,
            name="decoder",
        )
        x_BTD, state = layers(drop(embed(tokens)), token_mask=token_mask, initial=state, train=train)
        x_BTD = drop(x_BTD)
        if self.tied:
            return tied_logits(embed, x_BTD), state
        return Dense(self.vocab_size, dtype=self.dtype, name="head")(x_BTD), state


def drop_words(module: nn.Module, x_BTD: jax.Array, rate: float, train: bool) -> jax.Array:
    """Sets whole tokens to zero with probability `rate` in training; the rest are scaled up to keep the mean."""
    return nn.Dropout(rate, broadcast_dims=(2,), deterministic=not train, name="word_dropout", parent=module)(x_BTD)
