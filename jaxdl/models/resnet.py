"""Residual networks for images. Letters: B batch, h w spatial, D channels, C classes."""

from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import Activation, BatchNorm, Conv, Dense, StochasticDepth, activation, global_average_pool, max_pool

he_normal_fan_out = initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al. 2015, "Delving Deep into Rectifiers", equation 14: keeps the variance of the gradient."""


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, figure 5 left).

    Attributes:
      features: Channels of the result.
      stride: Stride of the first convolution.
      activation: Function after each sum or normalization.
      shortcut: Where shapes differ, "projection" is a 1 x 1 convolution with normalization (option B of the paper) and
        "pad" takes every stride-th pixel and appends zero channels (option A, no parameters).
      drop_rate: Probability that stochastic depth drops the residual branch.
      zero_init_residual: Start the last scale of the branch at zero, so that the block begins as its shortcut.
      dtype: Type of the computation.
    """

    features: int
    stride: int = 1
    activation: Activation = jax.nn.relu
    shortcut: Literal["projection", "pad"] = "projection"
    drop_rate: float = 0.0
    zero_init_residual: bool = True
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to (B, h / stride, w / stride, channels of the block)."""
        conv, norm = _layers(self.dtype)
        last_scale = initializers.zeros if self.zero_init_residual else initializers.ones
        y = conv(self.features, 3, self.stride, name="conv_0")(x_BhwD)
        y = self.activation(norm(name="norm_0")(y, train=train))
        y = conv(self.features, 3, name="conv_1")(y)
        y = norm(scale_init=last_scale, name="norm_1")(y, train=train)
        y = StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)
        if self.shortcut == "pad":
            return self.activation(y + _padded(x_BhwD, self.features, self.stride))
        if x_BhwD.shape != y.shape:
            x_BhwD = conv(self.features, 1, self.stride, name="shortcut_conv")(x_BhwD)
            x_BhwD = norm(name="shortcut_norm")(x_BhwD, train=train)
        return self.activation(y + x_BhwD)


class BottleneckBlock(nn.Module):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1 around a shortcut (He et al. 2016, figure 5 right), stride in the 3 x 3.

    The result has four times `features` channels. Attributes as in `BasicBlock`; the shortcut is a projection.
    `width_factor` times `features` is the width of the 3 x 3 convolution.
    """

    features: int
    stride: int = 1
    activation: Activation = jax.nn.relu
    drop_rate: float = 0.0
    zero_init_residual: bool = True
    dtype: str | None = None
    width_factor: int = 1

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to (B, h / stride, w / stride, channels of the block)."""
        conv, norm = _layers(self.dtype)
        last_scale = initializers.zeros if self.zero_init_residual else initializers.ones
        inner = self.width_factor * self.features
        y = conv(inner, 1, name="conv_0")(x_BhwD)
        y = self.activation(norm(name="norm_0")(y, train=train))
        y = conv(inner, 3, self.stride, name="conv_1")(y)
        y = self.activation(norm(name="norm_1")(y, train=train))
        y = conv(4 * self.features, 1, name="conv_2")(y)
        y = norm(scale_init=last_scale, name="norm_2")(y, train=train)
        y = StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)
        if x_BhwD.shape != y.shape:
            x_BhwD = conv(4 * self.features, 1, self.stride, name="shortcut_conv")(x_BhwD)
            x_BhwD = norm(name="shortcut_norm")(x_BhwD, train=train)
        return self.activation(y + x_BhwD)


BLOCKS = MappingProxyType(
    {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (BottleneckBlock, (3, 4, 6, 3)),
        101: (BottleneckBlock, (3, 4, 23, 3)),
        152: (BottleneckBlock, (3, 8, 36, 3)),
    }
)
"""The block of each depth and how many of them the four stages hold (He et al. 2016, table 1)."""


class ResNet(nn.Module):
    """A residual network, version 1.5: the stride of a bottleneck is in its 3 x 3 convolution.

    He et al. 2016, "Deep Residual Learning for Image Recognition". With 1,000 classes the depths 18, 34, 50, 101 and
    152 have 11,689,512, 21,797,672, 25,557,032, 44,549,160 and 60,192,808 parameters. Wide ResNet-50-2 (Zagoruyko and
    Komodakis 2016, table 8) is depth 50 with width_factor 2: 68,883,240 parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the pooled features (B, D) in their place.
      depth: Number of weighted layers.
      stem: "imagenet" is a 7 x 7 convolution of stride 2 and a 3 x 3 max pooling of stride 2; "cifar", for small
        images, a 3 x 3 convolution alone.
      width: Channels of the first stage; each later stage doubles them.
      activation: Name in `jaxdl.nn.activation`, or a function.
      stochastic_depth_rate: Probability that the last residual branch is dropped in training; it rises linearly from
        the first block to the last (Huang et al. 2016, equation 4).
      zero_init_residual: Start every block as its shortcut (Goyal et al. 2017, section 5.1).
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
      width_factor: How much wider the 3 x 3 convolutions of the bottlenecks are; the depths 50, 101 and 152 have such.
    """

    num_classes: int | None
    depth: Literal[18, 34, 50, 101, 152] = 50
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: int = 64
    activation: str | Activation = "relu"
    stochastic_depth_rate: float = 0.0
    zero_init_residual: bool = True
    remat: bool = False
    dtype: str | None = None
    width_factor: int = 1

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            raise ValueError(f"depth must be one of {tuple(BLOCKS)}, not {self.depth}; see CifarResNet for others.")
        if self.stem not in ("imagenet", "cifar"):
            raise ValueError(f"stem must be 'imagenet' or 'cifar', not {self.stem!r}.")
        if self.width_factor < 1 or (self.width_factor > 1 and self.depth < 50):
            raise ValueError(
                f"width_factor must be at least 1, and 1 for the depths 18 and 34 which have no bottlenecks, not "
                f"{self.width_factor} for depth {self.depth}."
            )
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        conv, norm = _layers(self.dtype)
        activate = activation(self.activation)
        large = self.stem == "imagenet"
        x = conv(self.width, 7 if large else 3, 2 if large else 1, name="stem_conv")(image)
        x = activate(norm(name="stem_norm")(x, train=train))
        if large:
            x = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        block, counts = BLOCKS[self.depth]
        options: dict[str, Any] = {
            "activation": activate,
            "zero_init_residual": self.zero_init_residual,
            "dtype": self.dtype,
        }
        if block is BottleneckBlock:
            options["width_factor"] = self.width_factor
        make = nn.remat(block, static_argnums=(2,)) if self.remat else block
        for stage, index, stride, drop_rate in plan(counts, self.stochastic_depth_rate):
            name = f"stage_{stage}_block_{index}"
            x = make(self.width * 2**stage, stride, drop_rate=drop_rate, name=name, **options)(x, train)
        features_BD = global_average_pool(x)
        if self.num_classes is None:
            return features_BD
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)


def plan(counts: Sequence[int], stochastic_depth_rate: float) -> list[tuple[int, int, int, float]]:
    """`(stage, index in the stage, stride, drop rate)` of every block: each stage but the first begins with stride 2.

    >>> plan((1, 2), 0.75)
    [(0, 0, 1, 0.25), (1, 0, 2, 0.5), (1, 1, 1, 0.75)]
    """
    places = [(stage, index) for stage, count in enumerate(counts) for index in range(count)]
    return [
        (stage, index, 2 if stage > 0 and index == 0 else 1, stochastic_depth_rate * (number + 1) / len(places))
        for number, (stage, index) in enumerate(places)
    ]


def _layers(dtype: str | None) -> tuple[Callable[..., Conv], Callable[..., BatchNorm]]:
    conv = partial(Conv, use_bias=False, kernel_init=he_normal_fan_out, dtype=dtype)
    return conv, partial(BatchNorm, dtype=dtype)


def _padded(x_BhwD: jax.Array, features: int, stride: int) -> jax.Array:
    x_BhwD = x_BhwD[:, ::stride, ::stride]
    return jnp.pad(x_BhwD, ((0, 0), (0, 0), (0, 0), (0, features - x_BhwD.shape[-1])))
