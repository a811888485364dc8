"""MobileNetV2. Letters: B batch, h w spatial, D channels, C classes."""

from functools import partial

import jax
from flax import linen as nn

from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, global_average_pool
from jaxdl.nn.convolution import Padding
from jaxdl.nn.separable import InvertedResidual, he_normal_fan_out, rounded

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and first stride of each stage (Sandler et al. 2018, table 2)."""


class MobileNetV2(nn.Module):
    """Inverted residual blocks: depthwise convolutions between a wide expansion and a narrow linear projection.

    Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks". With 1,000 classes and width 1.0 it
    has 3,504,872 parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the pooled features (B, D) in their place.
      width_factor: Multiplies the number of channels of every layer, except that the last one does not shrink.
      stem_stride: Stride of the first convolution: 2 in the paper, 1 for small images.
      activation: Name in `jaxdl.nn.activation`, or a function.
      padding: "half" as in PyTorch's weights, or "same" as in those of TensorFlow.
      momentum: Of the batch normalizations.
      epsilon: Of the batch normalizations: 1e-5 in PyTorch's weights, 1e-3 in those of TensorFlow.
      dropout_rate: Probability that a pooled feature is dropped in training.
      stochastic_depth_rate: Probability that the last residual branch is dropped in training; it rises linearly from
        the first block to the last. The paper has none.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    width_factor: float = 1.0
    stem_stride: int = 2
    activation: str | Activation = "relu6"
    padding: Padding = "half"
    momentum: float = 0.9
    epsilon: float = 1e-5
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.width_factor <= 0:
            raise ValueError(f"width_factor must be positive, not {self.width_factor}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        activate = activation(self.activation)
        conv = partial(Conv, use_bias=False, padding=self.padding, kernel_init=he_normal_fan_out, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        make = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        x = conv(rounded(32 * self.width_factor), 3, self.stem_stride, name="stem_conv")(image)
        x = activate(norm(name="stem_norm")(x, train=train))
        index, count = 0, sum(blocks for _, _, blocks, _ in STAGES)
        for expansion, channels, blocks, stride in STAGES:
            for place in range(blocks):
                x = make(
                    rounded(channels * self.width_factor),
                    expansion * x.shape[-1],
                    stride=stride if place == 0 else 1,
                    activation=activate,
                    padding=self.padding,
                    momentum=self.momentum,
                    epsilon=self.epsilon,
                    drop_rate=self.stochastic_depth_rate * (index + 1) / count,
                    dtype=self.dtype,
                    name=f"block_{index}",
                )(x, train)
                index += 1
        x = conv(rounded(1280 * max(1.0, self.width_factor)), 1, name="last_conv")(x)
        features_BD = global_average_pool(activate(norm(name="last_norm")(x, train=train)))
        if self.num_classes is None:
            return features_BD
        features_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(features_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)
