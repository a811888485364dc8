"""Recurrent encoder-decoders. Letters: B batch, S source, T target tokens, D features, R readout, V vocabulary."""

from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.nn import Dense
from jaxdl.nn.alignment import Alignment, Memory, Score
from jaxdl.nn.recurrent import Kind, Recurrent, RecurrentCell, RecurrentState


class DecoderState(flax.struct.PyTreeNode):
    """What the decoder keeps from one token to the next. Every leaf has the batch first: rows can be gathered.

    Attributes:
      memory: The encoded source, the same at every token.
      layers: State of each recurrent layer.
      readout: The readout before (B, R), where it is fed to the next token; else None.
    """

    memory: Memory
    layers: tuple[RecurrentState, ...]
    readout: jax.Array | None = None


class DecoderStep(nn.Module):
    """One token of the decoder; see `RecurrentSeq2Seq`."""

    features: int
    readout_features: int
    style: Literal["bahdanau", "luong"]
    kind: Kind
    num_layers: int
    alignment: Alignment
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(
        self, state: DecoderState, embedded_BD: jax.Array, train: bool
    ) -> tuple[DecoderState, tuple[jax.Array, jax.Array]]:
        """The next state, and the readout (B, R) and attention weights (B, S) of a token."""
        dtype, parts = embedded_BD.dtype, [embedded_BD]
        if self.style == "bahdanau":
            context_BE, weights_BS = self.alignment(state.layers[-1].hidden, state.memory)
            parts.append(context_BE.astype(dtype))
        if state.readout is not None:
            parts.append(state.readout.astype(dtype))
        x, layers = jnp.concatenate(parts, axis=-1), []
        for layer in range(self.num_layers):
            if layer:
                x = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"dropout_{layer}")(x)
            cell = RecurrentCell(self.features, self.kind, dtype=self.dtype, name=f"layer_{layer}")
            layers.append(cell(x, state.layers[layer]))
            x = layers[-1].hidden
        if self.style == "luong":
            context_BE, weights_BS = self.alignment(x, state.memory)
            seen = jnp.concatenate([x.astype(dtype), context_BE.astype(dtype)], axis=-1)
            readout_BR = jnp.tanh(Dense(self.readout_features, dtype=self.dtype, name="readout")(seen))
        else:
            seen = jnp.concatenate([x.astype(dtype), context_BE.astype(dtype), embedded_BD], axis=-1)
            pairs = Dense(2 * self.readout_features, dtype=self.dtype, name="readout")(seen)
            readout_BR = pairs.reshape(len(x), self.readout_features, 2).max(axis=-1)
        fed = None if state.readout is None else readout_BR.astype(state.readout.dtype)
        return DecoderState(state.memory, tuple(layers), fed), (readout_BR, weights_BS)


class RecurrentSeq2Seq(nn.Module):
    """A recurrent encoder and a recurrent decoder that attends to what the encoder gave for each source token.

    "bahdanau" is Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate"
    (RNNsearch): the decoder's state before a token attends, the context enters the cell, and the readout is the maxout
    of state, context and embedding. "luong" is Luong et al. 2015, "Effective Approaches to Attention-based Neural
    Machine Translation": the state after the token attends, and the readout is the tanh of a layer over state and
    context, which may be fed to the next token. GRUs are of the form in `RecurrentCell`. The decoder starts from a
    dense layer over the encoder's final states, with a tanh for hidden ones.

    Methods beside the call, for `model.apply(variables, ..., method="decode")`: `encode` gives the state before the
    first target token, `decode` takes a token at a time, `attend` gives the attention weights with the logits.

    Attributes:
      vocab_size: Number of source tokens.
      target_vocab_size: V; None for one vocabulary, and one embedding, of source and target.
      embedding_dim: Features of a token.
      features: Hidden features of the decoder, and of each direction of the encoder.
      readout_features: R; None for `features`.
      style: See above.
      score: How a state is compared with a source token; see `jaxdl.nn.Alignment`. "dot" needs features equal to those
        of the encoder's outputs, so one direction.
      kind: What cell.
      num_layers: Recurrent layers of the encoder, and of the decoder.
      bidirectional: Whether the encoder runs both ways.
      input_feeding: Whether the readout is an input of the next token (Luong et al. 2015, section 3.3).
      dropout_rate: Probability that a feature of an embedding, of a layer's output or of a readout is dropped in
        training.
      remat: Whether to recompute each step in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int
    target_vocab_size: int | None = None
    embedding_dim: int = 128
    features: int = 128
    readout_features: int | None = None
    style: Literal["bahdanau", "luong"] = "bahdanau"
    score: Score = "additive"
    kind: Kind = "gru"
    num_layers: int = 1
    bidirectional: bool = True
    input_feeding: bool = False
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.style not in ("bahdanau", "luong"):
            raise ValueError(f"style must be 'bahdanau' or 'luong', not {self.style!r}.")
        if self.score == "dot" and self.bidirectional:
            raise ValueError("score='dot' needs encoder outputs as wide as the decoder: set bidirectional=False.")
        super().__post_init__()

    def setup(self) -> None:
        """Makes the layers."""
        dtype = self.dtype
        self.embed = nn.Embed(self.vocab_size, self.embedding_dim, dtype=dtype)
        if self.target_vocab_size is not None:
            self.target_embed = nn.Embed(self.target_vocab_size, self.embedding_dim, dtype=dtype)
        self.encoder = Recurrent(
            self.features,
            self.kind,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout_rate=self.dropout_rate,
            remat=self.remat,
            dtype=dtype,
        )
        for layer in range(self.num_layers):
            for part in ("hidden", "cell")[: 1 + (self.kind == "lstm")]:
                setattr(self, f"bridge_{part}_{layer}", Dense(self.features, dtype=dtype))
        self.attention = Alignment(self.features, self.score, dtype=dtype)
        self.decoder = DecoderStep(
            self.features,
            self.readout_features or self.features,
            self.style,
            self.kind,
            self.num_layers,
            self.attention,
            self.dropout_rate,
            dtype,
        )
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = Dense(self.target_vocab_size or self.vocab_size, dtype=dtype)

    def __call__(
        self, tokens: jax.Array, targets: jax.Array, token_mask: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """The logits (B, T, V) of the target tokens.

        Args:
          tokens: The source, (B, S).
          targets: The target moved right by one, (B, T): a start token, and all tokens but the last.
          token_mask: (B, S), 1 real and 0 padding of the source.
          train: Whether features are dropped.
        """
        return self.attend(tokens, targets, token_mask, train=train)[0]

    def attend(
        self, tokens: jax.Array, targets: jax.Array, token_mask: jax.Array | None = None, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """The logits (B, T, V), and the float32 weights (B, T, S) of each target token's attention to the source."""
        state = self.encode(tokens, token_mask, train=train)
        embedded_BTD = self._embed_target(targets, train)

        def step(decoder: DecoderStep, carry: Any, embedded_BD: jax.Array, memory: Memory) -> tuple[Any, Any]:
            state, out = decoder(DecoderState(memory, *carry), embedded_BD, train)
            return (state.layers, state.readout), out

        scan = nn.scan(
            nn.remat(step, prevent_cse=False) if self.remat else step,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=(1, nn.broadcast),
            out_axes=1,
        )
        carry = (state.layers, state.readout)
        _, (readout_BTR, weights_BTS) = scan(self.decoder, carry, embedded_BTD, state.memory)
        return self.head(self.dropout(readout_BTR, deterministic=not train)), weights_BTS

    def encode(self, tokens: jax.Array, token_mask: jax.Array | None = None, *, train: bool = False) -> DecoderState:
        """The decoder's state before the first target token, from the source `tokens` (B, S)."""
        x_BSD = self.dropout(self.embed(tokens), deterministic=not train)
        outputs_BSE, final = self.encoder(x_BSD, token_mask=token_mask, train=train)
        layers = tuple(self._bridge(index, final[index]) for index in range(self.num_layers))
        width = self.readout_features or self.features
        readout_BR = jnp.zeros((len(tokens), width), x_BSD.dtype) if self.input_feeding else None
        return DecoderState(self.attention.remember(outputs_BSE, token_mask), layers, readout_BR)

    def decode(self, state: DecoderState, token: jax.Array) -> tuple[jax.Array, DecoderState, jax.Array]:
        """The logits (B, V) of what follows `token` (B,), the state after it, and its attention weights (B, S)."""
        state, (readout_BR, weights_BS) = self.decoder(state, self._embed_target(token, False), False)
        return self.head(readout_BR), state, weights_BS

    def _embed_target(self, tokens: jax.Array, train: bool) -> jax.Array:
        embed = self.embed if self.target_vocab_size is None else self.target_embed
        return self.dropout(embed(tokens), deterministic=not train)

    def _bridge(self, layer: int, states: tuple[RecurrentState, ...]) -> RecurrentState:
        hidden = jnp.concatenate([state.hidden for state in states], axis=-1)
        start = jnp.tanh(getattr(self, f"bridge_hidden_{layer}")(hidden))
        if self.kind != "lstm":
            return RecurrentState(start)
        cell = jnp.concatenate([state.cell for state in states if state.cell is not None], axis=-1)
        return RecurrentState(start, getattr(self, f"bridge_cell_{layer}")(cell).astype(jnp.float32))
