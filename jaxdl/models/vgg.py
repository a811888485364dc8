"""VGG. Letters: B batch, h w spatial, D channels or features, C classes."""

from functools import partial
from types import MappingProxyType
from typing import Literal

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.models.resnet import he_normal_fan_out
from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, global_average_pool, max_pool

CONVOLUTIONS = MappingProxyType({11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)})
"""Convolutions of the five stages (Simonyan and Zisserman 2015, table 1, columns A, B, D and E)."""


class VGG(nn.Module):
    """Stages of 3 x 3 convolutions with 2 x 2 max pooling after each, then two hidden dense layers and the logits.

    Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition". With 1,000
    classes and images of 224 x 224 the depths 11, 13, 16 and 19 have 132,863,336, 133,047,848, 138,357,544 and
    143,667,240 parameters, depth 16 with batch normalization 138,365,992. The first hidden layer sees every pixel of
    the last stage, so that its size, and the parameters, are of one image size: a 32nd of it.

    Attributes:
      num_classes: C, the number of outputs; None for the last features (B, D) before them.
      depth: Number of weighted layers.
      width: Channels of the first stage; the next three double them, the last one does not.
      hidden: Widths of the hidden dense layers. `()` averages over the pixels and classifies, as for small images.
      batch_norm: Normalize after each convolution, which keeps its bias as in the published models.
      activation: Name in `jaxdl.nn.activation`, or a function.
      dropout_rate: Probability that a unit of a hidden dense layer is dropped in training.
      remat: Recompute each stage in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    depth: Literal[11, 13, 16, 19] = 16
    width: int = 64
    hidden: tuple[int, ...] = (4096, 4096)
    batch_norm: bool = False
    activation: str | Activation = "relu"
    dropout_rate: float = 0.5
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.depth not in CONVOLUTIONS:
            raise ValueError(f"depth must be one of {tuple(CONVOLUTIONS)}, not {self.depth}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, h and w at least 32, to logits (B, C), or features (B, D)."""
        if min(image.shape[1:3]) < 32:
            raise ValueError(f"VGG halves an image five times: it must be at least 32 x 32, not {image.shape[1:3]}.")
        activate = activation(self.activation)
        make = nn.remat(_Stage, static_argnums=(2,)) if self.remat else _Stage
        x = image
        for stage, count in enumerate(CONVOLUTIONS[self.depth]):
            width = self.width * 2 ** min(stage, 3)
            x = make(width, count, activate, self.batch_norm, self.dtype, name=f"stage_{stage}")(x, train)
        x_BD = x.reshape(x.shape[0], -1) if self.hidden else global_average_pool(x)
        dense = partial(Dense, kernel_init=initializers.he_normal(), dtype=self.dtype)
        for index, width in enumerate(self.hidden):
            x_BD = activate(dense(width, name=f"hidden_{index}")(x_BD))
            x_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"dropout_{index}")(x_BD)
        return x_BD if self.num_classes is None else Dense(self.num_classes, dtype=self.dtype, name="head")(x_BD)


class _Stage(nn.Module):
    features: int
    count: int
    activation: Activation
    batch_norm: bool
    dtype: str | None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        for index in range(self.count):
            conv = Conv(self.features, kernel_init=he_normal_fan_out, dtype=self.dtype, name=f"conv_{index}")
            x_BhwD = conv(x_BhwD)
            if self.batch_norm:
                x_BhwD = BatchNorm(dtype=self.dtype, name=f"norm_{index}")(x_BhwD, train=train)
            x_BhwD = self.activation(x_BhwD)
        return max_pool(x_BhwD, (2, 2))
