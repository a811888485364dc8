"""MobileNetV3. Letters: B batch, h w spatial, D channels, C classes."""

from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
from flax import linen as nn

from jaxdl.nn import BatchNorm, Conv, Dense, activation, global_average_pool
from jaxdl.nn.convolution import Padding
from jaxdl.nn.separable import InvertedResidual, he_normal_fan_out, rounded


class Row(NamedTuple):
    """A row of table 1 or 2 of Howard et al. 2019."""

    kernel_size: int
    expanded: int
    features: int
    squeeze: bool
    activation: Literal["relu", "hard_swish"]
    stride: int


VARIANTS = MappingProxyType(
    {
        "large": (
            Row(3, 16, 16, False, "relu", 1),
            Row(3, 64, 24, False, "relu", 2),
            Row(3, 72, 24, False, "relu", 1),
            Row(5, 72, 40, True, "relu", 2),
            Row(5, 120, 40, True, "relu", 1),
            Row(5, 120, 40, True, "relu", 1),
            Row(3, 240, 80, False, "hard_swish", 2),
            Row(3, 200, 80, False, "hard_swish", 1),
            Row(3, 184, 80, False, "hard_swish", 1),
            Row(3, 184, 80, False, "hard_swish", 1),
            Row(3, 480, 112, True, "hard_swish", 1),
            Row(3, 672, 112, True, "hard_swish", 1),
            Row(5, 672, 160, True, "hard_swish", 2),
            Row(5, 960, 160, True, "hard_swish", 1),
            Row(5, 960, 160, True, "hard_swish", 1),
        ),
        "small": (
            Row(3, 16, 16, True, "relu", 2),
            Row(3, 72, 24, False, "relu", 2),
            Row(3, 88, 24, False, "relu", 1),
            Row(5, 96, 40, True, "hard_swish", 2),
            Row(5, 240, 40, True, "hard_swish", 1),
            Row(5, 240, 40, True, "hard_swish", 1),
            Row(5, 120, 48, True, "hard_swish", 1),
            Row(5, 144, 48, True, "hard_swish", 1),
            Row(5, 288, 96, True, "hard_swish", 2),
            Row(5, 576, 96, True, "hard_swish", 1),
            Row(5, 576, 96, True, "hard_swish", 1),
        ),
    }
)
HIDDEN = MappingProxyType({"large": 1280, "small": 1024})
"""Width of the dense layer before the logits."""


class MobileNetV3(nn.Module):
    """Inverted residual blocks found by search, with channel attention and piecewise linear sigmoids.

    Howard et al. 2019, "Searching for MobileNetV3". With 1,000 classes "large" has 5,483,032 and "small" 2,542,856
    parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the features (B, D) of the last hidden layer in their place.
      variant: Table 1 or table 2 of the paper.
      width_factor: Multiplies the number of channels of every layer.
      stem_stride: Stride of the first convolution: 2 in the paper, 1 for small images.
      padding: "half" as in PyTorch's weights, or "same" as in those of TensorFlow.
      momentum: Of the batch normalizations; less than PyTorch's 0.99 for training of few steps.
      epsilon: Of the batch normalizations.
      dropout_rate: Probability that a feature of the last hidden layer is dropped in training.
      stochastic_depth_rate: Probability that the last residual branch is dropped in training; it rises linearly from
        the first block to the last. The paper has none.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    variant: Literal["large", "small"] = "large"
    width_factor: float = 1.0
    stem_stride: int = 2
    padding: Padding = "half"
    momentum: float = 0.99
    epsilon: float = 1e-3
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.0
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {tuple(VARIANTS)}, not {self.variant!r}.")
        if self.width_factor <= 0:
            raise ValueError(f"width_factor must be positive, not {self.width_factor}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        hard_swish, rows = activation("hard_swish"), VARIANTS[self.variant]
        conv = partial(Conv, use_bias=False, padding=self.padding, kernel_init=he_normal_fan_out, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        make = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        x = conv(rounded(16 * self.width_factor), 3, self.stem_stride, name="stem_conv")(image)
        x = hard_swish(norm(name="stem_norm")(x, train=train))
        for index, row in enumerate(rows):
            expanded = rounded(row.expanded * self.width_factor)
            x = make(
                rounded(row.features * self.width_factor),
                expanded,
                row.kernel_size,
                row.stride,
                activation=row.activation,
                squeezed=rounded(expanded / 4) if row.squeeze else None,
                gate="hard_sigmoid",
                padding=self.padding,
                momentum=self.momentum,
                epsilon=self.epsilon,
                drop_rate=self.stochastic_depth_rate * (index + 1) / len(rows),
                dtype=self.dtype,
                name=f"block_{index}",
            )(x, train)
        x = conv(6 * x.shape[-1], 1, name="last_conv")(x)
        x_BD = global_average_pool(hard_swish(norm(name="last_norm")(x, train=train)))
        hidden = rounded(HIDDEN[self.variant] * self.width_factor)
        features_BD = hard_swish(Dense(hidden, dtype=self.dtype, name="hidden")(x_BD))
        if self.num_classes is None:
            return features_BD
        features_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(features_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)
