"""U-Net. Letters: B batch, h w spatial, D channels, C classes."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.models.resnet import he_normal_fan_out
from jaxdl.nn import Activation, BatchNorm, Conv, activation, max_pool
from jaxdl.nn.convolution import UpConv


class UNet(nn.Module):
    """A contracting and an expanding path with a shortcut at each resolution, for one label per pixel.

    Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation". For images of one
    channel and two classes it has 31,030,658 parameters. Unlike the paper's, its convolutions pad with zeros, so that
    the logits are of the image's size and shortcuts need no cropping; batch normalization is offered besides.

    Images whose sides are no multiple of 2 ** depth are filled up with zeros below and to the right, and the logits
    are cut back.

    Attributes:
      num_classes: C, the number of outputs per pixel; None for the features (B, h, w, width) in their place.
      width: Channels at full resolution; each halving of the resolution doubles them.
      depth: How often the resolution is halved.
      batch_norm: Normalize after each 3 x 3 convolution, which then has no bias of its own.
      upsampling: "transpose" is a transposed 2 x 2 convolution (the paper's); "bilinear" enlarges by interpolation,
        then halves the channels by a 1 x 1 convolution.
      activation: Name in `jaxdl.nn.activation`, or a function.
      dropout_rate: Probability that a value at the lowest resolution is dropped in training.
      remat: Recompute each pair of convolutions in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    width: int = 64
    depth: int = 4
    batch_norm: bool = False
    upsampling: Literal["transpose", "bilinear"] = "transpose"
    activation: str | Activation = "relu"
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}.")
        if self.upsampling not in ("transpose", "bilinear"):
            raise ValueError(f"upsampling must be 'transpose' or 'bilinear', not {self.upsampling!r}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, h, w, C), or features (B, h, w, D)."""
        height, width = image.shape[1:3]
        spare = [-side % 2**self.depth for side in (height, width)]
        x = jnp.pad(image, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)))
        make = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        pair = partial(make, activation=activation(self.activation), batch_norm=self.batch_norm, dtype=self.dtype)
        shortcuts = []
        for level in range(self.depth):
            x = pair(self.width * 2**level, name=f"down_{level}")(x, train)
            shortcuts.append(x)
            x = max_pool(x, (2, 2))
        x = pair(self.width * 2**self.depth, name="bottom")(x, train)
        x = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x)
        for level in reversed(range(self.depth)):
            x = self._enlarged(x, self.width * 2**level, f"enlarge_{level}")
            x = jnp.concatenate([shortcuts[level], x], axis=-1)
            x = pair(self.width * 2**level, name=f"up_{level}")(x, train)
        x = x[:, :height, :width]
        return x if self.num_classes is None else Conv(self.num_classes, 1, dtype=self.dtype, name="head")(x)

    def _enlarged(self, x_BhwD: jax.Array, features: int, name: str) -> jax.Array:
        if self.upsampling == "transpose":
            return UpConv(features, dtype=self.dtype, name=name)(x_BhwD)
        batch, height, width, channels = x_BhwD.shape
        x_BhwD = jax.image.resize(x_BhwD, (batch, 2 * height, 2 * width, channels), "linear").astype(x_BhwD.dtype)
        return Conv(features, 1, dtype=self.dtype, name=name)(x_BhwD)


class DoubleConv(nn.Module):
    """Two 3 x 3 convolutions, each with its activation.

    Attributes:
      features: Channels of both.
      activation: After each.
      batch_norm: Normalize before each activation.
      dtype: Type of the computation.
    """

    features: int
    activation: Activation
    batch_norm: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to (B, h, w, features)."""
        for index in range(2):
            x_BhwD = Conv(self.features, use_bias=not self.batch_norm, kernel_init=he_normal_fan_out,
                          dtype=self.dtype, name=f"conv_{index}")(x_BhwD)  # fmt: skip
            if self.batch_norm:
                x_BhwD = BatchNorm(dtype=self.dtype, name=f"norm_{index}")(x_BhwD, train=train)
            x_BhwD = self.activation(x_BhwD)
        return x_BhwD
