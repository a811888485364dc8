"""Convolutions split into a depthwise and a pointwise one. Letters: B batch, h w spatial, D channels, F features."""

from functools import partial
from typing import Any

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.convolution import Conv, Padding
from jaxdl.nn.normalization import BatchNorm
from jaxdl.nn.regularization import StochasticDepth
from jaxdl.nn.squeeze_excite import SqueezeExcite

he_normal_fan_out = initializers.variance_scaling(2.0, "fan_out", "normal")


depthwise_normal = initializers.variance_scaling(2.0, "fan_in", "normal")
"""He's initialization for a depthwise kernel (k, k, 1, D), each result of which sees k * k weights."""


class SeparableConv(nn.Module):
    """A depthwise convolution, then a 1 x 1 convolution: `(B, h, w, D) -> (B, h', w', F)`.

    Parameters: `depthwise` (k, k, 1, D) and `pointwise` (1, 1, D, F).

    Attributes:
      features: F.
      kernel_size: Height and width of the depthwise kernel.
      stride: Of the depthwise convolution.
      padding: As in `Conv`.
      use_bias: Whether the 1 x 1 convolution adds a bias; the depthwise one, whose bias it would absorb, has none.
      dtype: Type of the computation; None promotes the types of input and parameters.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "half"
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array) -> jax.Array:
        """Convolves `x_BhwD` (B, h, w, D)."""
        channels = x_BhwD.shape[-1]
        x_BhwD = Conv(channels, self.kernel_size, self.stride, channels, padding=self.padding, use_bias=False,
                      kernel_init=depthwise_normal, dtype=self.dtype, name="depthwise")(x_BhwD)  # fmt: skip
        return Conv(self.features, 1, use_bias=self.use_bias, dtype=self.dtype, name="pointwise")(x_BhwD)


class InvertedResidual(nn.Module):
    """A residual block that is wide inside: 1 x 1 expansion, depthwise convolution, linear 1 x 1 projection.

    Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", section 3.4; with channel attention
    after the depthwise convolution as in Howard et al. 2019 and Tan and Le 2019 ("MBConv"). The shortcut is there
    where the stride is 1 and input and result have as many channels. Each convolution is followed by batch
    normalization and has no bias.

    Attributes:
      features: F, channels of the result.
      expanded: Channels of the depthwise convolution; there is no expansion where they are those of the input.
      kernel_size: Height and width of the depthwise kernel.
      stride: Of the depthwise convolution.
      activation: After the expansion and after the depthwise convolution.
      squeezed: Width inside the channel attention; None for no attention.
      squeeze_activation: As `SqueezeExcite.activation`.
      gate: As `SqueezeExcite.gate`.
      padding: As in `Conv`.
      momentum: Of the batch normalizations.
      epsilon: Of the batch normalizations.
      drop_rate: Probability that stochastic depth drops the residual branch, where there is a shortcut.
      dtype: Type of the computation; None promotes the types of input and parameters.
    """

    features: int
    expanded: int
    kernel_size: int = 3
    stride: int = 1
    activation: str | Activation = "relu6"
    squeezed: int | None = None
    squeeze_activation: str | Activation = "relu"
    gate: str | Activation = "sigmoid"
    padding: Padding = "half"
    momentum: float = 0.9
    epsilon: float = 1e-5
    drop_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to (B, h / stride, w / stride, F)."""
        activate = activation(self.activation)
        conv = partial(Conv, use_bias=False, padding=self.padding, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        y = x_BhwD
        if self.expanded != x_BhwD.shape[-1]:
            y = conv(self.expanded, 1, kernel_init=he_normal_fan_out, name="expand_conv")(y)
            y = activate(norm(name="expand_norm")(y, train=train))
        y = conv(self.expanded, self.kernel_size, self.stride, self.expanded, kernel_init=depthwise_normal,
                 name="depthwise_conv")(y)  # fmt: skip
        y = activate(norm(name="depthwise_norm")(y, train=train))
        if self.squeezed is not None:
            attend = SqueezeExcite(self.squeezed, self.squeeze_activation, self.gate, self.dtype, name="squeeze_excite")
            y = attend(y)
        y = conv(self.features, 1, kernel_init=he_normal_fan_out, name="project_conv")(y)
        y = norm(name="project_norm")(y, train=train)
        if self.stride != 1 or self.features != x_BhwD.shape[-1]:
            return y
        return x_BhwD + StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)


def rounded(channels: float, multiple: int = 8) -> int:
    """The nearest multiple to a number of channels, but at least one multiple and 90 % of the number.

    >>> rounded(16 * 0.35), rounded(39), rounded(3)
    (8, 40, 8)
    """
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * channels else nearest
