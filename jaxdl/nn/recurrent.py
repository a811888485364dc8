"""Recurrent layers. Letters: B batch, T tokens, D inputs, H hidden features, K = H times the gates of the cell."""

import functools
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn import initializers

from jaxdl.nn.activations import Activation, activation

Kind = Literal["lstm", "gru", "rnn"]
Initializer = initializers.Initializer
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


class RecurrentState(flax.struct.PyTreeNode):
    """What a recurrent cell keeps from one token to the next.

    Attributes:
      hidden: (B, H), which is also the cell's output.
      cell: (B, H) float32 of an LSTM; None of other kinds.
    """

    hidden: jax.Array
    cell: jax.Array | None = None


class CellWeights(flax.struct.PyTreeNode):
    """Parameters of a cell as arrays. The gates follow one another in K: i, f, g, o of an LSTM; r, z, n of a GRU.

    Attributes:
      kernel: (D, K).
      recurrent_kernel: (H, K).
      bias: (K,).
      recurrent_bias: (H,) of a GRU, added to the hidden state's share of n before the reset gate; None of other kinds.
    """

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array
    recurrent_bias: jax.Array | None = None


class RecurrentCell(nn.Module):
    """One step, or one direction, of an LSTM, a GRU or a plain recurrent network.

    "lstm" is Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000. "gru" is Cho et al. 2014 in the
    form of cuDNN and PyTorch, where the reset gate multiplies the product with the hidden state, not the state itself.
    "rnn" is Elman 1990. The parameters are those of `CellWeights`. PyTorch has two biases where one is enough: the sum
    of them is ours.

    Attributes:
      features: H.
      kind: What cell.
      activation: What stands for the hyperbolic tangent; the gates are sigmoids always.
      forget_bias: Added to the initial bias of an LSTM's forget gate (Jozefowicz et al. 2015).
      unroll: Steps of the loop over the tokens that are compiled as one.
      remat: Whether to recompute the gates in the backward pass instead of keeping them.
      dtype: Type of the products; None promotes the types of input and parameters. An LSTM's `cell` is float32 always.
      kernel_init: Initializer of `kernel`.
      recurrent_init: Initializer of each gate's (H, H) block of `recurrent_kernel`.
    """

    features: int
    kind: Kind = "lstm"
    activation: str | Activation = "tanh"
    forget_bias: float = 1.0
    unroll: int = 1
    remat: bool = False
    dtype: Any = None
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_init: Initializer = initializers.orthogonal()

    def __post_init__(self) -> None:
        if self.kind not in _GATES:
            raise ValueError(f"The kind of a recurrent cell is one of {', '.join(_GATES)}, not {self.kind!r}.")
        activation(self.activation)
        super().__post_init__()

    def __call__(self, x_BD: jax.Array, state: RecurrentState | None = None) -> RecurrentState:
        """The state after one token (B, D); its `hidden` is the output. The state before is zero by default."""
        weights = self.weights(x_BD)
        state = self.zeros(len(x_BD), weights.kernel.dtype) if state is None else state
        return self._step(weights, state, _project(weights, x_BD))

    def run(
        self,
        x_TBD: jax.Array,
        state: RecurrentState | None = None,
        *,
        mask_TB: jax.Array | None = None,
        reverse: bool = False,
    ) -> tuple[jax.Array, RecurrentState]:
        """The outputs (T, B, H) and the state after the last token, or after the first one if in reverse.

        Tokens with a zero in `mask_TB` leave the state as it is and have zeros as output.
        """
        weights = self.weights(x_TBD)
        start = self.zeros(x_TBD.shape[1], weights.kernel.dtype) if state is None else state

        def step(state: RecurrentState, token: tuple[jax.Array, Any]) -> tuple[RecurrentState, jax.Array]:
            new = self._step(weights, state, token[0])
            if token[1] is None:
                return new, new.hidden
            real = token[1][:, None]
            new = jax.tree.map(lambda new, old: jnp.where(real, new, old), new, state)
            return new, jnp.where(real, new.hidden, jnp.zeros((), new.hidden.dtype))

        body: Any = jax.checkpoint(step, prevent_cse=False) if self.remat else step
        xs = (_project(weights, x_TBD), None if mask_TB is None else mask_TB != 0)
        end, outputs_TBH = jax.lax.scan(body, start, xs, reverse=reverse, unroll=self.unroll)
        return outputs_TBH, end

    def zeros(self, batch: int, dtype: Any = jnp.float32) -> RecurrentState:
        """The state before the first token."""
        cell = jnp.zeros((batch, self.features), jnp.float32) if self.kind == "lstm" else None
        return RecurrentState(jnp.zeros((batch, self.features), dtype), cell)

    @nn.compact
    def weights(self, x: jax.Array) -> CellWeights:
        """The parameters for inputs `x` (..., D), in the type of the computation."""
        count, width = _GATES[self.kind], self.features
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], count * width), jnp.float32)
        blocks = functools.partial(_blocks, self.recurrent_init, count)
        recurrent_kernel = self.param("recurrent_kernel", blocks, (width, count * width), jnp.float32)
        forget = self.forget_bias if self.kind == "lstm" else 0.0
        bias = self.param("bias", functools.partial(_forget_bias, forget), (count * width,), jnp.float32)
        recurrent_bias = None
        if self.kind == "gru":
            recurrent_bias = self.param("recurrent_bias", initializers.zeros, (width,), jnp.float32)
        _, *cast = promote_dtype(x, kernel, recurrent_kernel, bias, recurrent_bias, dtype=self.dtype)
        return CellWeights(*cast)

    def _step(self, weights: CellWeights, state: RecurrentState, gates_BK: jax.Array) -> RecurrentState:
        return advance(self.kind, activation(self.activation), weights, state, gates_BK)


class Recurrent(nn.Module):
    """A stack of recurrent layers over (B, T, D), each in one direction or both (Schuster and Paliwal 1997).

    Parameters: those of `RecurrentCell` under `forward_0`, `backward_0`, `forward_1`, ... The products with the inputs
    of all tokens are one matrix product before the loop over the tokens.

    Attributes:
      features: H, per direction.
      kind: What cell; see `RecurrentCell`.
      num_layers: How many layers.
      bidirectional: Whether each layer also runs from the last token to the first, and concatenates the outputs.
      dropout_rate: Probability that an output of a layer but the last is dropped in training.
      activation: See `RecurrentCell`, as the other attributes.
    """

    features: int
    kind: Kind = "lstm"
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    activation: str | Activation = "tanh"
    forget_bias: float = 1.0
    unroll: int = 1
    remat: bool = False
    dtype: Any = None
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_init: Initializer = initializers.orthogonal()

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {self.num_layers}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        *,
        lengths: jax.Array | None = None,
        token_mask: jax.Array | None = None,
        initial: tuple[tuple[RecurrentState, ...], ...] | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, tuple[tuple[RecurrentState, ...], ...]]:
        """The last layer's outputs (B, T, H), or (B, T, 2 H) in two directions, and the final states.

        `final[layer][direction]` is the state after a row's last real token or, in the backward direction, which
        starts there, after its first. Outputs of padding are zero. Padding may be anywhere: its tokens are skipped.

        Args:
          x_BTD: The inputs.
          lengths: Number of real tokens of each row, (B,); or
          token_mask: (B, T), 1 real and 0 padding. Neither, where all are real.
          initial: The states to start from, of the form of the final ones; None for zeros.
          train: Whether outputs are dropped.
        """
        if lengths is not None and token_mask is not None:
            raise ValueError("Recurrent takes lengths or token_mask, not both.")
        if lengths is not None:
            token_mask = length_mask(lengths, x_BTD.shape[1])
        mask_TB = None if token_mask is None else token_mask.T
        x, final = x_BTD.swapaxes(0, 1), []
        for layer in range(self.num_layers):
            if layer:
                x = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"dropout_{layer}")(x)
            outputs, states = [], []
            for direction in range(2 if self.bidirectional else 1):
                cell = self._cell(f"{('forward', 'backward')[direction]}_{layer}")
                start = None if initial is None else initial[layer][direction]
                y, state = cell.run(x, start, mask_TB=mask_TB, reverse=direction == 1)
                outputs.append(y)
                states.append(state)
            x = jnp.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
            final.append(tuple(states))
        return x.swapaxes(0, 1), tuple(final)

    def _cell(self, name: str) -> RecurrentCell:
        return RecurrentCell(
            self.features,
            self.kind,
            activation=self.activation,
            forget_bias=self.forget_bias,
            unroll=self.unroll,
            remat=self.remat,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            recurrent_init=self.recurrent_init,
            name=name,
            parent=self,
        )


def last_hidden(final: tuple[tuple[RecurrentState, ...], ...]) -> jax.Array:
    """The last layer's final hidden states (B, H), or (B, 2 H) of two directions side by side."""
    return jnp.concatenate([state.hidden for state in final[-1]], axis=-1)


def length_mask(lengths: jax.Array, count: int) -> jax.Array:
    """A mask (B, count) of the first tokens of each row.

    >>> length_mask(jnp.array([2, 0, 3]), 3).astype(int)
    Array([[1, 1, 0],
           [0, 0, 0],
           [1, 1, 1]], dtype=int32)
    """
    return jnp.arange(count)[None] < lengths[:, None]


def advance(
    kind: Kind, act: Activation, weights: CellWeights, state: RecurrentState, gates_BK: jax.Array
) -> RecurrentState:
    """The state after a token whose input's share of the gates, bias included, is `gates_BK` (B, K)."""
    dtype, hidden = weights.recurrent_kernel.dtype, state.hidden
    product_BK = hidden.astype(dtype) @ weights.recurrent_kernel
    if kind == "lstm":
        total = (gates_BK + product_BK).astype(jnp.float32)
        i, f, g, o = jnp.split(total, 4, axis=-1)
        assert state.cell is not None
        cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * act(g)
        return RecurrentState((jax.nn.sigmoid(o) * act(cell)).astype(hidden.dtype), cell)
    if kind == "gru":
        assert weights.recurrent_bias is not None
        given, own, width = gates_BK.astype(jnp.float32), product_BK.astype(jnp.float32), hidden.shape[-1]
        r, z = jnp.split(jax.nn.sigmoid(given[:, : 2 * width] + own[:, : 2 * width]), 2, axis=-1)
        own_n = own[:, 2 * width :] + weights.recurrent_bias.astype(jnp.float32)[None]
        n = act(given[:, 2 * width :] + r * own_n)
        return RecurrentState((n + z * (hidden.astype(jnp.float32) - n)).astype(hidden.dtype))
    return RecurrentState(act(gates_BK + product_BK).astype(hidden.dtype))


def _project(weights: CellWeights, x: jax.Array) -> jax.Array:
    """The inputs' share of the gates, (..., K)."""
    flat = x.astype(weights.kernel.dtype).reshape(-1, x.shape[-1])
    return (flat @ weights.kernel + weights.bias[None]).reshape(*x.shape[:-1], -1)


def _blocks(init: Initializer, count: int, key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    keys = jax.random.split(key, count)
    return jnp.concatenate([init(each, (shape[0], shape[1] // count), dtype) for each in keys], axis=1)


def _forget_bias(value: float, key: jax.Array, shape: tuple[int], dtype: Any) -> jax.Array:
    bias = jnp.zeros(shape, dtype)
    return bias.at[shape[0] // 4 : shape[0] // 2].set(value) if value else bias
