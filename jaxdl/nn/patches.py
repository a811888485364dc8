"""Images as sequences of patches. Letters: B batch, h w spatial, C channels, T patches, D features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn import initializers

from jaxdl.nn.positions import sinusoids


class PatchEmbedding(nn.Module):
    """A dense map of each square patch: `(B, h, w, C) -> (B, T, D)`, patches row by row (Dosovitskiy et al. 2021).

    It is a convolution whose stride is its kernel size, with the parameters of one: `kernel` (patch_size, patch_size,
    C, D) and `bias` (D,). It runs as one matrix product.

    Attributes:
      features: D.
      patch_size: Height and width of a patch, in pixels; a divisor of those of the image.
      use_bias: Whether to add `bias`.
      dtype: Type of the computation; None promotes the types of input and parameters.
      kernel_init: Initializer of `kernel`.
    """

    features: int
    patch_size: int = 16
    use_bias: bool = True
    dtype: Any = None
    kernel_init: initializers.Initializer = initializers.lecun_normal()

    @nn.compact
    def __call__(self, image_BhwC: jax.Array) -> jax.Array:
        """Maps `image_BhwC` (B, h, w, C)."""
        size, (batch, height, width, channels) = self.patch_size, image_BhwC.shape
        if height % size or width % size:
            raise ValueError(f"Patches of {size} pixels do not tile an image of {height} x {width}.")
        kernel = self.param("kernel", self.kernel_init, (size, size, channels, self.features), jnp.float32)
        bias_D = self.param("bias", initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        image_BhwC, kernel, bias_D = promote_dtype(image_BhwC, kernel, bias_D, dtype=self.dtype)
        cut = image_BhwC.reshape(batch, height // size, size, width // size, size, channels)
        rows = cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size * size * channels)
        y = rows @ kernel.reshape(size * size * channels, self.features)
        if bias_D is not None:
            y = y + bias_D[None]
        return y.reshape(batch, -1, self.features)


def grid_sinusoids(height: int, width: int, features: int) -> np.ndarray:
    """Sines and cosines of the column, then of the row, of each place of a grid, row by row: float32 (h w, features).

    The fixed positions of Chen et al. 2021 ("An Empirical Study of Training Self-Supervised Vision Transformers"),
    with wavelengths as in Beyer et al. 2022 ("Better plain ViT baselines for ImageNet-1k").

    >>> grid_sinusoids(2, 3, 8).shape
    (6, 8)
    """
    if features % 4 or features < 8:
        raise ValueError(f"Sinusoids of a grid need features that are a multiple of 4 and at least 8, not {features}.")
    columns, rows = (sinusoids(length, features // 2, interleaved=False) for length in (width, height))
    return np.concatenate((np.tile(columns, (height, 1)), np.repeat(rows, width, axis=0)), axis=1)
