"""Conformer. Letters: B batch, T frames, S frames after subsampling, D features, V vocabulary."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.nn import (
    Attention,
    BatchNorm,
    Conv,
    Dense,
    FeedForward,
    Layers,
    Rotary,
    activation,
    token_attention_mask,
)
from jaxdl.nn.convolution_1d import Conv1D
from jaxdl.nn.relative_attention import RelativeAttention

SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "S": MappingProxyType({"num_layers": 16, "features": 144, "num_heads": 4}),
        "M": MappingProxyType({"num_layers": 16, "features": 256, "num_heads": 4}),
        "L": MappingProxyType({"num_layers": 17, "features": 512, "num_heads": 8}),
    }
)
"""The encoders of Gulati et al. 2020, table 1, as arguments of `Conformer`."""


class Conformer(nn.Module):
    """An encoder of speech whose layers attend and convolve.

    Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition". `SIZES` has the encoders
    of the paper's table 1, with 8,708,544 (S), 27,323,392 (M) and 115,102,720 (L) parameters. Its 10.3, 30.7 and 118.8
    million include the decoder, a transducer's LSTM, which this module does not have. The kernel of the convolutions
    has 31 frames, as later work has it, not 32, which would look further behind than ahead.

    Attributes:
      vocab_size: V of the logits; None gives hidden features.
      num_mels: Mel bands of the input.
      features: D.
      num_layers: Number of layers.
      num_heads: Attention heads of a layer.
      expansion: Hidden features of the feed-forward layers over D.
      kernel_size: Frames under the kernels of the convolutions, odd.
      positions: "relative" compares queries with distances (Dai et al. 2019), as in the paper; "rotary" turns queries
        and keys (Su et al. 2021), without parameters.
      dropout_rate: Probability that a feature of a branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      momentum: What running statistics keep of themselves at each step.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int | None = None
    num_mels: int = 80
    features: int = 144
    num_layers: int = 16
    num_heads: int = 4
    expansion: int = 4
    kernel_size: int = 31
    positions: Literal["relative", "rotary"] = "relative"
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    momentum: float = 0.9
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
        if self.positions not in ("relative", "rotary"):
            raise ValueError(f"positions must be 'relative' or 'rotary', not {self.positions!r}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: jax.Array, *, lengths: jax.Array | None = None, train: bool) -> dict[str, jax.Array]:
        """Gives "hidden" (B, S, D), or "logits" (B, S, V), and "lengths" (B,) after subsampling.

        S is a quarter of the frames, rounded up. What is beyond the length of a row is zero where it is hidden, means
        nothing where it is logits, and has no influence on the rest.

        Args:
          features: Log-mel spectra, (B, frames, num_mels).
          lengths: Frames of each row, int (B,); None where all are full.
          train: Whether to drop features and to normalize by the statistics of this batch.
        """
        if features.ndim != 3 or features.shape[-1] != self.num_mels:
            raise ValueError(f"Conformer needs log-mel spectra (B, frames, {self.num_mels}), not {features.shape}.")
        if lengths is None:
            lengths = jnp.full(features.shape[:1], features.shape[1], jnp.int32)
        x_BSD, lengths = Subsampling(self.features, dtype=self.dtype, name="subsampling")(features, lengths)
        x_BSD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BSD)
        kept_BS = _kept(x_BSD.shape[1], lengths)
        x_BSD, _ = Layers(self._layer(), self.num_layers, remat=self.remat, name="layers")(
            x_BSD, kept_BS=kept_BS, train=train
        )
        x_BSD = jnp.where(kept_BS[..., None], x_BSD, 0)
        if self.vocab_size is None:
            return {"hidden": x_BSD, "lengths": lengths}
        return {"logits": Dense(self.vocab_size, dtype=self.dtype, name="head")(x_BSD), "lengths": lengths}

    def _layer(self) -> Any:
        attention = partial(
            RelativeAttention if self.positions == "relative" else partial(Attention, rotary=Rotary()),
            features=self.features,
            num_heads=self.num_heads,
            dropout_rate=self.attention_dropout_rate,
            dtype=self.dtype,
        )
        return partial(
            ConformerLayer,
            attention=attention,
            features=self.features,
            hidden=self.expansion * self.features,
            kernel_size=self.kernel_size,
            dropout_rate=self.dropout_rate,
            momentum=self.momentum,
            dtype=self.dtype,
        )


class Subsampling(nn.Module):
    """Two 3 x 3 convolutions with stride 2 over frames and bands, and a dense layer over what is left of the bands.

    Attributes:
      features: D.
      dtype: Type of the computation.
    """

    features: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, T, bands) and lengths (B,) to (B, ceil(T / 4), D) and theirs."""
        x = features[..., None]
        for index in range(2):
            x = jnp.where(_kept(x.shape[1], lengths)[..., None, None], x, 0)
            x = jax.nn.relu(Conv(self.features, 3, 2, dtype=self.dtype, name=f"conv_{index}")(x))
            lengths = (lengths + 1) // 2
        x_BSD = x.reshape(*x.shape[:2], -1)
        return Dense(self.features, dtype=self.dtype, name="projection")(x_BSD), lengths


class ConformerLayer(nn.Module):
    """Attention and a convolution between two halves of a feed-forward layer (Gulati et al. 2020, section 2.4).

    Attributes:
      attention: Makes the self-attention.
      features: D.
      hidden: Hidden features of the feed-forward layers.
      kernel_size: Frames under the kernel of the convolution.
      dropout_rate: Probability that a feature of a branch is dropped in training.
      momentum: What running statistics keep of themselves at each step.
      dtype: Type of the computation.
    """

    attention: Any
    features: int
    hidden: int
    kernel_size: int
    dropout_rate: float
    momentum: float = 0.9
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BSD: jax.Array, *, kept_BS: jax.Array, train: bool) -> tuple[jax.Array, None]:
        """Maps (B, S, D) to (B, S, D); `kept_BS` is false for padding."""
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        feedforward = partial(
            FeedForward,
            self.features,
            self.hidden,
            activation="silu",
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

        def drop(y: jax.Array, name: str) -> jax.Array:
            return nn.Dropout(self.dropout_rate, deterministic=not train, name=name, parent=self)(y)

        y = feedforward(name="feedforward_0")(norm(name="feedforward_0_norm")(x_BSD), train=train)
        x_BSD = x_BSD + 0.5 * drop(y, "feedforward_0_dropout")
        y = self.attention(name="attention")(
            norm(name="attention_norm")(x_BSD), mask=token_attention_mask(kept_BS), train=train
        )
        x_BSD = x_BSD + drop(y[0] if isinstance(y, tuple) else y, "attention_dropout")
        convolution = ConvolutionModule(
            self.features, self.kernel_size, momentum=self.momentum, dtype=self.dtype, name="convolution"
        )
        y = convolution(norm(name="convolution_norm")(x_BSD), kept_BS=kept_BS, train=train)
        x_BSD = x_BSD + drop(y, "convolution_dropout")
        y = feedforward(name="feedforward_1")(norm(name="feedforward_1_norm")(x_BSD), train=train)
        x_BSD = x_BSD + 0.5 * drop(y, "feedforward_1_dropout")
        return norm(name="final_norm")(x_BSD), None


class ConvolutionModule(nn.Module):
    """A gate, a depthwise convolution over frames and a dense layer (Gulati et al. 2020, figure 2).

    Attributes:
      features: D.
      kernel_size: Frames under the kernel.
      activation: After the normalization.
      momentum: What running statistics keep of themselves at each step.
      dtype: Type of the computation.
    """

    features: int
    kernel_size: int
    activation: str = "silu"
    momentum: float = 0.9
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BSD: jax.Array, *, kept_BS: jax.Array, train: bool) -> jax.Array:
        """Maps (B, S, D) to (B, S, D); what `kept_BS` is false for reaches neither its neighbours nor statistics."""
        x_BSD = jax.nn.glu(Dense(2 * self.features, dtype=self.dtype, name="gate")(x_BSD))
        x_BSD = jnp.where(kept_BS[..., None], x_BSD, 0)
        depthwise = Conv1D(
            self.features,
            self.kernel_size,
            groups=self.features,
            use_bias=False,  # The normalization would take it away again.
            dtype=self.dtype,
            name="depthwise",
        )
        norm = BatchNorm(momentum=self.momentum, dtype=self.dtype, name="norm")
        x_BSD = norm(depthwise(x_BSD), train=train, mask=kept_BS)
        return Dense(self.features, dtype=self.dtype, name="out")(activation(self.activation)(x_BSD))


def _kept(count: int, lengths: jax.Array) -> jax.Array:
    return jnp.arange(count)[None] < lengths[:, None]
