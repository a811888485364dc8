"""Feed-forward layers. Letters: B batch, T tokens, D features, F hidden features."""

from typing import Any

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.linear import Dense


class FeedForward(nn.Module):
    """Two dense layers with an activation between them, `up` and `down`, or three with a `gate` (Shazeer 2020).

    Attributes:
      features: Features of the result.
      hidden: F.
      activation: Name in `jaxdl.nn.activation`, or a function. With a gate it acts on that: "silu" makes SwiGLU.
      gated: Whether the hidden features are multiplied by activated ones of their own.
      use_bias: Whether the layers have a bias.
      dropout_rate: Probability that a hidden feature is dropped in training.
      dtype: Type of the computation; None promotes the types of input and parameters.
      kernel_init: Initializer of the kernels.
      down_init: Of that of `down`; None for `kernel_init`.
    """

    features: int
    hidden: int
    activation: str | Activation = "gelu"
    gated: bool = False
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: Any = None
    kernel_init: initializers.Initializer = initializers.lecun_normal()
    down_init: initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `x` (..., D) to (..., features)."""
        options: dict[str, Any] = {"use_bias": self.use_bias, "dtype": self.dtype, "kernel_init": self.kernel_init}
        act = activation(self.activation)
        up = Dense(self.hidden, name="up", **options)(x)
        hidden = act(Dense(self.hidden, name="gate", **options)(x)) * up if self.gated else act(up)
        hidden = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(hidden)
        options["kernel_init"] = self.down_init or self.kernel_init
        return Dense(self.features, name="down", **options)(hidden)
