"""Multilayer perceptron. Letters: B batch, D features of a layer, C classes."""

from typing import Literal

import jax
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import Activation, BatchNorm, Dense, activation


class MLP(nn.Module):
    """A multilayer perceptron over the flattened input: dense, normalization, activation, dropout; then the logits.

    Attributes:
      num_classes: C, the number of outputs.
      widths: Width of each hidden layer; empty for a linear classifier.
      activation: Name in `jaxdl.nn.activation`, or a function.
      normalization: Layer between product and activation.
      dropout_rate: Probability that a hidden unit is dropped in training.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int
    widths: tuple[int, ...] = (128, 128)
    activation: str | Activation = "relu"
    normalization: Literal["batch", "layer"] | None = None
    dropout_rate: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        if self.normalization not in ("batch", "layer", None):
            raise ValueError(f"normalization must be 'batch', 'layer' or None, not {self.normalization!r}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, ...) to logits (B, C)."""
        x_BD = image.reshape(image.shape[0], -1)
        for index, width in enumerate(self.widths):
            dense = Dense(width, dtype=self.dtype, kernel_init=initializers.he_normal(), name=f"hidden_{index}")
            x_BD = self._normalize(dense(x_BD), train, f"norm_{index}")
            x_BD = activation(self.activation)(x_BD)
            x_BD = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"dropout_{index}")(x_BD)
        return Dense(self.num_classes, dtype=self.dtype, name="head")(x_BD)

    def _normalize(self, x_BD: jax.Array, train: bool, name: str) -> jax.Array:
        match self.normalization:
            case "batch":
                return BatchNorm(dtype=self.dtype, name=name, parent=self)(x_BD, train=train)
            case "layer":
                return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name, parent=self)(x_BD)
        return x_BD
