"""Channel attention. Letters: B batch, h w spatial, D channels, S squeezed channels."""

from typing import Any

import jax
from flax import linen as nn

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.linear import Dense
from jaxdl.nn.pooling import global_average_pool


class SqueezeExcite(nn.Module):
    """Scales each channel of an image by a number that depends on the means of all channels.

    Hu et al. 2018, "Squeeze-and-Excitation Networks", section 3. Parameters: `reduce` (D, S) and `expand` (S, D), both
    with bias.

    Attributes:
      features: S, the width between the two dense layers.
      activation: After the first of them: a name in `jaxdl.nn.activation`, or a function.
      gate: After the second one; its values are the scales.
      dtype: Type of the computation; None promotes the types of input and parameters.
    """

    features: int
    activation: str | Activation = "relu"
    gate: str | Activation = "sigmoid"
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"SqueezeExcite needs at least 1 squeezed channel, not {self.features}.")
        activation(self.activation)
        activation(self.gate)
        super().__post_init__()

    @nn.compact
    def __call__(self, x_BhwD: jax.Array) -> jax.Array:
        """Scales the channels of `x_BhwD` (B, h, w, D)."""
        squeezed_BS = Dense(self.features, dtype=self.dtype, name="reduce")(global_average_pool(x_BhwD))
        squeezed_BS = activation(self.activation)(squeezed_BS)
        scale_BD = Dense(x_BhwD.shape[-1], dtype=self.dtype, name="expand")(squeezed_BS)
        return x_BhwD * activation(self.gate)(scale_BD)[:, None, None]
