"""Small convolutional network. Letters: B batch, h w spatial, D channels or features, C classes."""

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import Activation, BatchNorm, Conv, Dense, activation, max_pool


class LeNet(nn.Module):
    """Convolutions with 2 x 2 max pooling after each, then one hidden dense layer and the logits.

    The plan of LeNet-5 (LeCun et al. 1998, section II) with today's parts: rectifiers, max pooling, zero padding.
    Any image whose sides are at least 2 ** len(channels) fits, such as 8 x 8, 28 x 28 or 32 x 32 x 3.

    Attributes:
      num_classes: C, the number of outputs.
      channels: Channels of each convolution.
      kernel_size: Height and width of the kernels, odd.
      dense_width: Width of the hidden dense layer.
      activation: Name in `jaxdl.nn.activation`, or a function.
      batch_norm: Normalize after each convolution, which then has no bias of its own.
      dropout_rate: Probability that a unit of the hidden dense layer is dropped in training.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int
    channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    dense_width: int = 128
    activation: str | Activation = "relu"
    batch_norm: bool = False
    dropout_rate: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C)."""
        activate, he_normal = activation(self.activation), initializers.he_normal()
        x = image
        for index, width in enumerate(self.channels):
            conv = Conv(width, self.kernel_size, use_bias=not self.batch_norm, dtype=self.dtype,
                        kernel_init=he_normal, name=f"conv_{index}")  # fmt: skip
            x = conv(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype, name=f"norm_{index}")(x, train=train)
            # A rising activation commutes with the maximum; pooling first leaves it a quarter of the work, but not
            # every activation rises.
            x = max_pool(activate(x), (2, 2))
        x_BD = x.reshape(x.shape[0], -1)
        x_BD = activate(Dense(self.dense_width, dtype=self.dtype, kernel_init=he_normal, name="hidden")(x_BD))
        x_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(x_BD)
