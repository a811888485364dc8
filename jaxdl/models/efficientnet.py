"""EfficientNet and its Lite form. Letters: B batch, h w spatial, D channels, C classes."""

import math
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
from flax import linen as nn

from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, global_average_pool
from jaxdl.nn.convolution import Padding
from jaxdl.nn.separable import InvertedResidual, he_normal_fan_out, rounded

Variant = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "lite0", "lite1", "lite2", "lite3", "lite4"]
SCALES = MappingProxyType(
    {
        "b0": (1.0, 1.0),
        "b1": (1.0, 1.1),
        "b2": (1.1, 1.2),
        "b3": (1.2, 1.4),
        "b4": (1.4, 1.8),
        "b5": (1.6, 2.2),
        "b6": (1.8, 2.6),
        "b7": (2.0, 3.1),
        "lite0": (1.0, 1.0),
        "lite1": (1.0, 1.1),
        "lite2": (1.1, 1.2),
        "lite3": (1.2, 1.4),
        "lite4": (1.4, 1.8),
    }
)
"""How much wider and deeper than b0 each variant is."""


class Stage(NamedTuple):
    """A row of table 1 of Tan and Le 2019."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    features: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """One block of the scaled network; `inputs` are the channels that it meets."""

    inputs: int
    features: int
    kernel_size: int
    stride: int
    expansion: int


class EfficientNet(nn.Module):
    """Inverted residual blocks with channel attention, scaled in width and depth together.

    Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks". With 1,000 classes "b0"
    to "b7" have 5,288,548, 7,794,184, 9,109,994, 12,233,232, 19,341,616, 30,389,784, 43,040,704 and 66,347,960
    parameters; they were trained on images of side 224, 240, 260, 300, 380, 456, 528 and 600 with dropout 0.2, 0.2,
    0.3, 0.3, 0.4, 0.4, 0.5 and 0.5. The variants "lite0" to "lite4" (Liu 2020, for quantization) have no channel
    attention, `relu6`, and a stem and a head that do not grow: 4,652,008, 5,416,680, 6,092,072, 8,197,096 and
    13,006,568 parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the pooled features (B, D) in their place.
      variant: Sets widths, depths and parts.
      width_factor: In place of the variant's.
      depth_factor: In place of the variant's.
      stem_stride: Stride of the first convolution: 2 in the paper, 1 for small images.
      activation: In place of `silu`, or of `relu6` for Lite: a name in `jaxdl.nn.activation`, or a function.
      padding: "same" as in the paper's TensorFlow code and its weights, or "half" as in PyTorch's.
      momentum: Of the batch normalizations; less than the paper's 0.99 for training of few steps.
      epsilon: Of the batch normalizations.
      dropout_rate: Probability that a pooled feature is dropped in training.
      stochastic_depth_rate: Probability that a residual branch after the last block would be dropped in training; it
        rises linearly from 0 for the first block.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    variant: Variant = "b0"
    width_factor: float | None = None
    depth_factor: float | None = None
    stem_stride: int = 2
    activation: str | Activation | None = None
    padding: Padding = "same"
    momentum: float = 0.99
    epsilon: float = 1e-3
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.variant not in SCALES:
            raise ValueError(f"variant must be one of {tuple(SCALES)}, not {self.variant!r}.")
        if self.activation is not None:
            activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        lite = self.variant.startswith("lite")
        activate = activation(self.activation or ("relu6" if lite else "silu"))
        width = self._width()
        conv = partial(Conv, use_bias=False, padding=self.padding, kernel_init=he_normal_fan_out, dtype=self.dtype)
        norm = partial(BatchNorm, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        make = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        x = conv(32 if lite else rounded(32 * width), 3, self.stem_stride, name="stem_conv")(image)
        x = activate(norm(name="stem_norm")(x, train=train))
        blocks = self.blocks()
        for index, block in enumerate(blocks):
            x = make(
                block.features,
                block.expansion * block.inputs,
                block.kernel_size,
                block.stride,
                activation=activate,
                squeezed=None if lite else max(1, block.inputs // 4),
                squeeze_activation=activate,
                padding=self.padding,
                momentum=self.momentum,
                epsilon=self.epsilon,
                drop_rate=self.stochastic_depth_rate * index / len(blocks),
                dtype=self.dtype,
                name=f"block_{index}",
            )(x, train)
        x = conv(1280 if lite else rounded(1280 * width), 1, name="last_conv")(x)
        features_BD = global_average_pool(activate(norm(name="last_norm")(x, train=train)))
        if self.num_classes is None:
            return features_BD
        features_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(features_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)

    def blocks(self) -> tuple[Block, ...]:
        """The blocks in order: table 1 of the paper, scaled.

        >>> len(EfficientNet(num_classes=1000, variant="b7").blocks())
        55
        """
        lite, width = self.variant.startswith("lite"), self._width()
        depth = SCALES[self.variant][1] if self.depth_factor is None else self.depth_factor
        inputs, blocks = 32 if lite else rounded(32 * width), []
        for stage in STAGES:
            fixed = lite and stage in (STAGES[0], STAGES[-1])
            features = rounded(stage.features * width)
            for index in range(stage.repeats if fixed else math.ceil(stage.repeats * depth)):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(inputs, features, stage.kernel_size, stride, stage.expansion))
                inputs = features
        return tuple(blocks)

    def _width(self) -> float:
        return SCALES[self.variant][0] if self.width_factor is None else self.width_factor
