"""MLP-Mixer. Letters: B batch, h w spatial, T patches, D channels, C classes."""

from functools import partial
from types import MappingProxyType
from typing import Literal

import jax
from flax import linen as nn

from jaxdl.nn import Activation, Conv, Dense, StochasticDepth, activation, global_average_pool

VARIANTS = MappingProxyType({"small": (8, 512), "base": (12, 768), "large": (24, 1024), "huge": (32, 1280)})
"""Layers and channels (Tolstikhin et al. 2021, table 1); the hidden widths are a half and four times the channels."""


class MixerBlock(nn.Module):
    """Two perceptrons with shortcuts: one along the patches, the same for all channels, then one along the channels.

    Attributes:
      token_width: Hidden width along the patches.
      channel_width: Hidden width along the channels.
      activation: Of both hidden layers.
      dropout_rate: Probability that a value after a dense layer is dropped.
      drop_rate: Probability that stochastic depth drops a perceptron.
      dtype: Type of the computation.
    """

    token_width: int
    channel_width: int
    activation: Activation
    dropout_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, T, D) to the same shape."""
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        _, patches, channels = x_BTD.shape
        y_BDT = norm(name="token_norm")(x_BTD).swapaxes(1, 2)
        y_BDT = self._perceptron(y_BDT, self.token_width, patches, "token", train)
        x_BTD = x_BTD + StochasticDepth(self.drop_rate, name="token_stochastic_depth")(
            y_BDT.swapaxes(1, 2), train=train
        )
        y_BTD = norm(name="channel_norm")(x_BTD)
        y_BTD = self._perceptron(y_BTD, self.channel_width, channels, "channel", train)
        return x_BTD + StochasticDepth(self.drop_rate, name="channel_stochastic_depth")(y_BTD, train=train)

    def _perceptron(self, x: jax.Array, width: int, features: int, name: str, train: bool) -> jax.Array:
        x = self.activation(Dense(width, dtype=self.dtype, name=f"{name}_expand")(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"{name}_dropout_0")(x)
        x = Dense(features, dtype=self.dtype, name=f"{name}_project")(x)
        return nn.Dropout(self.dropout_rate, deterministic=not train, name=f"{name}_dropout_1")(x)


class MLPMixer(nn.Module):
    """A network of dense layers alone, along the patches of an image and along its channels in turn.

    Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision". With 1,000 classes and images of
    224 x 224, S/16, B/16 and L/16 have 18,528,264, 59,880,472 and 208,196,168 parameters. The parameters are of one
    number of patches, and so of one image size.

    Attributes:
      num_classes: C, the number of outputs; None for the normalized pooled features (B, D) in their place.
      variant: Sets layers and channels.
      patch_size: Side of the squares that the image is cut into.
      depth: Layers, in place of the variant's.
      width: Channels D, in place of the variant's.
      token_width: Hidden width along the patches; half of D unless given.
      channel_width: Hidden width along the channels; four times D unless given.
      activation: Name in `jaxdl.nn.activation`, or a function.
      dropout_rate: Probability that a value after a dense layer is dropped in training.
      stochastic_depth_rate: Probability that the last layer's perceptrons are dropped in training; it rises linearly
        from 0 for the first layer. The paper trains with 0.1.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    variant: Literal["small", "base", "large", "huge"] = "small"
    patch_size: int = 16
    depth: int | None = None
    width: int | None = None
    token_width: int | None = None
    channel_width: int | None = None
    activation: str | Activation = "gelu_exact"
    dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {tuple(VARIANTS)}, not {self.variant!r}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        if any(side % self.patch_size for side in image.shape[1:3]):
            raise ValueError(f"patch_size {self.patch_size} does not divide the image {image.shape[1:3]}.")
        depth, width = VARIANTS[self.variant]
        depth, width = self.depth or depth, self.width or width
        x = Conv(width, self.patch_size, self.patch_size, padding="valid", dtype=self.dtype, name="stem_conv")(image)
        x_BTD = x.reshape(x.shape[0], -1, width)
        make = nn.remat(MixerBlock, static_argnums=(2,)) if self.remat else MixerBlock
        for index in range(depth):
            drop_rate = self.stochastic_depth_rate * index / max(depth - 1, 1)
            block = make(self.token_width or width // 2, self.channel_width or 4 * width, activation(self.activation),
                         self.dropout_rate, drop_rate, self.dtype, name=f"block_{index}")  # fmt: skip
            x_BTD = block(x_BTD, train)
        features_BD = global_average_pool(nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x_BTD))
        if self.num_classes is None:
            return features_BD
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)
