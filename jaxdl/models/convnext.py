"""ConvNeXt. Letters: B batch, h w spatial, D channels, C classes."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Literal

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import Activation, Conv, Dense, StochasticDepth, activation, global_average_pool

VARIANTS = MappingProxyType(
    {
        "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
        "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
        "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
        "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
        "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
    }
)
"""Blocks and channels of the four stages (Liu et al. 2022, section 3)."""

truncated_normal = initializers.truncated_normal(0.02)


class ConvNeXtBlock(nn.Module):
    """A 7 x 7 depthwise convolution and two dense layers per pixel around a shortcut (Liu et al. 2022, figure 4).

    Attributes:
      activation: Between the two dense layers.
      layer_scale: First value of the scale of each channel of the branch; None for no such scale.
      drop_rate: Probability that stochastic depth drops the branch.
      epsilon: Of the layer normalization.
      dtype: Type of the computation.
    """

    activation: Activation
    layer_scale: float | None = 1e-6
    drop_rate: float = 0.0
    epsilon: float = 1e-6
    dtype: str | None = None

    @nn.compact
    def __call__(self, x_BhwD: jax.Array, train: bool) -> jax.Array:
        """Maps (B, h, w, D) to the same shape."""
        _, conv, dense = _layers(self.dtype, self.epsilon)
        channels = x_BhwD.shape[-1]
        y = conv(channels, 7, groups=channels, name="depthwise_conv")(x_BhwD)
        y = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name="norm")(y)
        y = self.activation(dense(4 * channels, name="expand")(y))
        y = dense(channels, name="project")(y)
        if self.layer_scale is not None:
            scale_D = self.param("layer_scale", initializers.constant(self.layer_scale), (channels,))
            y = y * scale_D[None, None, None].astype(y.dtype)
        return x_BhwD + StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)


class ConvNeXt(nn.Module):
    """A convolutional network with the plan and the training of vision transformers.

    Liu et al. 2022, "A ConvNet for the 2020s". With 1,000 classes the variants "tiny", "small", "base", "large" and
    "xlarge" have 28,589,128, 50,223,688, 88,591,464, 197,767,336 and 350,196,968 parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the normalized pooled features (B, D) in their place.
      variant: Sets blocks and channels.
      depths: Blocks of each stage, in place of the variant's.
      widths: Channels of each stage, in place of the variant's.
      patch_size: Side of the squares that the first convolution makes one pixel each; 4 in the paper, less for small
        images.
      activation: Name in `jaxdl.nn.activation`, or a function.
      layer_scale: First value of the scale of each residual branch (Touvron et al. 2021); None for no such scale.
      stochastic_depth_rate: Probability that the last residual branch is dropped in training; it rises linearly from 0
        for the first block. The paper trains its variants with 0.1, 0.4, 0.5, 0.5 and 0.5.
      epsilon: Of the layer normalizations.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    variant: Literal["tiny", "small", "base", "large", "xlarge"] = "tiny"
    depths: tuple[int, ...] | None = None
    widths: tuple[int, ...] | None = None
    patch_size: int = 4
    activation: str | Activation = "gelu_exact"
    layer_scale: float | None = 1e-6
    stochastic_depth_rate: float = 0.0
    epsilon: float = 1e-6
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {tuple(VARIANTS)}, not {self.variant!r}.")
        depths, widths = self.plan()
        if len(depths) != len(widths):
            raise ValueError(f"depths and widths must name the same stages, not {depths} and {widths}.")
        activation(self.activation)
        super().__post_init__()

    def plan(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The blocks and the channels of each stage."""
        depths, widths = VARIANTS[self.variant]
        return self.depths or depths, self.widths or widths

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        norm, conv, dense = _layers(self.dtype, self.epsilon)
        depths, widths = self.plan()
        make = nn.remat(ConvNeXtBlock, static_argnums=(2,)) if self.remat else ConvNeXtBlock
        x = conv(widths[0], self.patch_size, self.patch_size, padding="valid", name="stem_conv")(image)
        x = norm(name="stem_norm")(x)
        number, last = 0, max(sum(depths) - 1, 1)
        for stage, (depth, width) in enumerate(zip(depths, widths)):
            if stage:
                x = norm(name=f"downsample_{stage}_norm")(x)
                x = conv(width, 2, 2, padding="valid", name=f"downsample_{stage}_conv")(x)
            for index in range(depth):
                drop_rate = self.stochastic_depth_rate * number / last
                block = make(activation(self.activation), self.layer_scale, drop_rate, self.epsilon, self.dtype,
                             name=f"stage_{stage}_block_{index}")  # fmt: skip
                x, number = block(x, train), number + 1
        features_BD = norm(name="norm")(global_average_pool(x))
        return features_BD if self.num_classes is None else dense(self.num_classes, name="head")(features_BD)


def _layers(
    dtype: str | None, epsilon: float
) -> tuple[Callable[..., nn.LayerNorm], Callable[..., Conv], Callable[..., Dense]]:
    return (
        partial(nn.LayerNorm, epsilon=epsilon, dtype=dtype),
        partial(Conv, kernel_init=truncated_normal, dtype=dtype),
        partial(Dense, kernel_init=truncated_normal, dtype=dtype),
    )
