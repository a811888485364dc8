"""Rules for `learning_rate_multipliers`: layer-wise learning rates and gradual unfreezing."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.optim.schedules import Schedule
from jaxdl.trees import Rules


def layerwise(*, decay: float, layers: tuple[str, ...]) -> Rules:
    """Learning rates that fall by `decay` from each layer to the one below it (Clark et al., 2020, ELECTRA, A.2).

    >>> layerwise(decay=0.5, layers=("embed/.*", "encoder/.*", "head/.*"))
    (('embed/.*', 0.25), ('encoder/.*', 0.5), ('head/.*', 1.0))

    Args:
      decay: The factor from one layer to the one below it, above 0, at most 1.
      layers: Regexes over parameter names from the input to the output; the last has the full rate. The first that
        matches decides, and every parameter must be matched.
    """
    _check(decay, layers)
    return tuple((pattern, decay**below) for pattern, below in zip(layers, range(len(layers) - 1, -1, -1)))


def unfreeze_at(*, step: int, multiplier: float = 1.0) -> Schedule:
    """A multiplier that is 0 before `step` and `multiplier` from it on: what it belongs to stays as it is till then.

    >>> [float(unfreeze_at(step=10)(step)) for step in (0, 9, 10)]
    [0.0, 0.0, 1.0]
    """
    if step < 0:
        raise ValueError(f"step is {step!r}; it must be zero or more.")
    if not (0 <= multiplier < math.inf):
        raise ValueError(f"multiplier is {multiplier!r}; it must be a finite number, zero or more.")

    def schedule(now: Any) -> jax.Array:
        return jnp.where(jnp.asarray(now) >= step, jnp.asarray(multiplier, float), 0.0)

    return schedule


def gradual_unfreezing(*, layers: tuple[str, ...], every: int, decay: float = 1.0) -> Rules:
    """The last layer trains from the start, then one more every so many steps (Howard and Ruder, 2018, section 3.3).

    Args:
      layers: Regexes over parameter names from the input to the output, as in `layerwise`.
      every: Steps between one layer and the next; the paper takes an epoch.
      decay: The factor of the learning rate from one layer to the one below it: 1 / 2.6 in the paper.
    """
    if every < 1:
        raise ValueError(f"every is {every!r}; it must be one step or more.")
    rules = layerwise(decay=decay, layers=layers)
    return tuple(
        (pattern, unfreeze_at(step=every * (len(rules) - 1 - index), multiplier=multiplier))
        for index, (pattern, multiplier) in enumerate(rules)
    )


def _check(decay: float, layers: tuple[str, ...]) -> None:
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay!r}; it must be above 0 and at most 1.")
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers is {layers!r}; it must be regular expressions from the input to the output.")
