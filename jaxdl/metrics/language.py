"""Measures of language models."""

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.metrics.mean import Mean
from jaxdl.types import Array


class Perplexity(struct.PyTreeNode):
    """The exponential of a mean negative log-likelihood in nats."""

    nll: Mean

    def compute(self) -> Array:
        """The perplexity; NaN when nothing was counted."""
        mean = self.nll.compute()
        return np.exp(mean) if isinstance(mean, np.ndarray | np.generic) else jnp.exp(mean)
