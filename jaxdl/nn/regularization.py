"""Layers that act only in training."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

_RATES = ("dropout_rate", "drop_rate", "depth_rate")


def check_rates(module: nn.Module, path: str = "") -> None:
    """Refuses a model that drops with no probability: `nn.Dropout` takes any number, and trains.

    Read are the fields that end in `dropout_rate`, `drop_rate` or `depth_rate`, those of modules in fields too.

    Raises:
      ValueError: one is not in [0, 1).
    """
    for field in dataclasses.fields(module):
        if field.name == "parent":
            continue
        value = getattr(module, field.name, None)
        if isinstance(value, nn.Module):
            check_rates(value, f"{path}{field.name}.")
        elif field.name.endswith(_RATES) and isinstance(value, int | float) and not 0 <= value < 1:
            raise ValueError(f"`{path}{field.name}` is a probability, from 0 to below 1, not {value}.")


class StochasticDepth(nn.Module):
    """Drops the whole input of some examples and scales the rest by 1 / (1 - rate), in training only.

    Huang et al. 2016, "Deep Networks with Stochastic Depth": applied to the residual branch of a block, before the
    addition. Draws one number per example from the random stream "dropout".

    Attributes:
      rate: Probability that an example is dropped, in [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"The rate of stochastic depth must be in [0, 1), not {self.rate}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Drops rows of `x` (B, ...)."""
        if not train or self.rate == 0:
            return x
        return drop_examples(self.make_rng("dropout"), x, self.rate)


def drop_examples(key: jax.Array, x: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Sets each row of `x` (B, ...) to zero with probability `rate`, and divides the others by 1 - `rate`."""
    keep = jnp.asarray(1 - rate, x.dtype)
    kept = jax.random.bernoulli(key, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(kept, x / keep, jnp.zeros((), x.dtype))
