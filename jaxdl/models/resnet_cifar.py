"""The thin, deep residual networks for CIFAR. Letters: B batch, h w spatial, D channels, C classes."""

from typing import Literal

import jax
from flax import linen as nn

from jaxdl.models.resnet import BasicBlock, he_normal_fan_out, plan
from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, global_average_pool


class CifarResNet(nn.Module):
    """A residual network of 6 n + 2 layers in three stages of 16, 32 and 64 channels.

    He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2. With 10 classes and the paper's
    parameter-free shortcuts the depths 20, 32, 44, 56 and 110 have 269,722, 464,154, 658,586, 853,018 and 1,727,962
    parameters.

    Attributes:
      num_classes: C, the number of outputs; None for the pooled features (B, D) in their place.
      depth: Number of weighted layers, 6 n + 2, such as 20, 32, 44, 56 or 110.
      width: Channels of the first stage; each later stage doubles them.
      activation: Name in `jaxdl.nn.activation`, or a function.
      shortcut: "pad" (the paper's option A) or "projection" (option B) where shapes differ.
      stochastic_depth_rate: Probability that the last residual branch is dropped in training; it rises linearly from
        the first block to the last (Huang et al. 2016, equation 4).
      zero_init_residual: Start every block as its shortcut.
      remat: Recompute each block in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    depth: int = 20
    width: int = 16
    activation: str | Activation = "relu"
    shortcut: Literal["pad", "projection"] = "pad"
    stochastic_depth_rate: float = 0.0
    zero_init_residual: bool = True
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"depth must be 6 n + 2, such as 20, 32, 44, 56 or 110, not {self.depth}.")
        if self.shortcut not in ("pad", "projection"):
            raise ValueError(f"shortcut must be 'pad' or 'projection', not {self.shortcut!r}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), or features (B, D)."""
        activate = activation(self.activation)
        x = Conv(self.width, use_bias=False, kernel_init=he_normal_fan_out, dtype=self.dtype, name="stem_conv")(image)
        x = activate(BatchNorm(dtype=self.dtype, name="stem_norm")(x, train=train))
        make = nn.remat(BasicBlock, static_argnums=(2,)) if self.remat else BasicBlock
        for stage, index, stride, drop_rate in plan(((self.depth - 2) // 6,) * 3, self.stochastic_depth_rate):
            x = make(
                self.width * 2**stage,
                stride,
                activation=activate,
                shortcut=self.shortcut,
                drop_rate=drop_rate,
                zero_init_residual=self.zero_init_residual,
                dtype=self.dtype,
                name=f"stage_{stage}_block_{index}",
            )(x, train)
        features_BD = global_average_pool(x)
        if self.num_classes is None:
            return features_BD
        return Dense(self.num_classes, dtype=self.dtype, name="head")(features_BD)
