"""Wide residual networks for small images. Letters: B batch, h w spatial, D channels, C classes."""

from functools import partial

import jax
from flax import linen as nn

from jaxdl.models.resnet import he_normal_fan_out, plan
from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, global_average_pool


class WideBlock(nn.Module):
    """Normalization, activation and 3 x 3 convolution, twice, around a shortcut.

    Where the number of channels changes, the shortcut is a 1 x 1 convolution of the normalized, activated input.

    Attributes:
      features: Channels of the result.
      stride: Stride of the first convolution.
      activation: Function before each convolution.
      dropout_rate: Probability that a value between the two convolutions is dropped.
      dtype: Type of the computation.
    """

    features: int
    stride: int
    activation: Activation
    dropout_rate: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to (B, h / stride, w / stride, features)."""
        conv = partial(Conv, use_bias=False, kernel_init=he_normal_fan_out, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype)
        first = self.activation(norm(name="norm_0")(x_BhwD, train=train))
        y = conv(self.features, 3, self.stride, name="conv_0")(first)
        y = self.activation(norm(name="norm_1")(y, train=train))
        y = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(y)
        y = conv(self.features, 3, name="conv_1")(y)
        if self.stride == 1 and x_BhwD.shape[-1] == self.features:
            return x_BhwD + y
        return conv(self.features, 1, self.stride, name="shortcut_conv")(first) + y


class WideResNet(nn.Module):
    """A residual network of 6 n + 4 layers in three stages of 16 k, 32 k and 64 k channels, for small images.

    Zagoruyko and Komodakis 2016, "Wide Residual Networks". WRN-28-10 has 36,479,194 parameters for 10 classes and
    WRN-40-4 has 8,949,210. For ImageNet's Wide ResNet-50-2 see `ResNet.width_factor`.

    Attributes:
      num_classes: C, the number of outputs; None for the pooled features (B, D) in their place.
      depth: Number of weighted layers, 6 n + 4, such as 16, 28 or 40.
      width_factor: k.
      activation: Name in `jaxdl.nn.activation`, or a function.
      dropout_rate: Probability that a value between the two convolutions of a block is dropped in training.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    depth: int = 28
    width_factor: int = 10
    activation: str | Activation = "relu"
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(f"depth must be 6 n + 4, such as 16, 28 or 40, not {self.depth}.")
        if self.width_factor < 1:
            raise ValueError(f"width_factor must be at least 1, not {self.width_factor}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        activate = activation(self.activation)
        x = Conv(16, use_bias=False, kernel_init=he_normal_fan_out, dtype=self.dtype, name="stem_conv")(image)
        make = nn.remat(WideBlock, static_argnums=(2,)) if self.remat else WideBlock
        for stage, index, stride, _ in plan(((self.depth - 4) // 6,) * 3, 0.0):
            width, name = 16 * 2**stage * self.width_factor, f"stage_{stage}_block_{index}"
            x = make(width, stride, activate, self.dropout_rate, self.dtype, name=name)(x, train)
        x = activate(BatchNorm(dtype=self.dtype, name="norm")(x, train=train))
        features_BD = global_average_pool(x)
        if self.num_classes is None:
            return features_BD
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)
