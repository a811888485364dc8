"""Learning rates as functions of the step.

Every function here returns `schedule(step) -> learning rate`, a scalar of the default float type. Step 0 is the
first update. A schedule first rises linearly from `warmup_from * peak` at step 0 to `peak` at `warmup_steps`;
where there is a last step, it is counted from step 0 too, so that `steps` is the length of the training, and the
last value is held from there on. Shares such as `end_fraction` are shares of `peak`, so that a change of the peak
keeps the shape.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

Schedule = Callable[[Any], Any]
"""A function of the step, int or int32 scalar, to the learning rate."""


def constant(*, peak: float, warmup_steps: int = 0, warmup_from: float = 0.0) -> Schedule:
    """The same learning rate throughout.

    >>> float(constant(peak=0.5)(7))
    0.5
    """
    return _warmed_up(jnp.ones_like, peak, warmup_steps, warmup_from)


def step_decay(
    *,
    peak: float,
    boundaries: tuple[int, ...],
    factor: float = 0.1,
    warmup_steps: int = 0,
    warmup_from: float = 0.0,
) -> Schedule:
    """Multiplies the learning rate by `factor` at each of the steps `boundaries` (which count from step 0).

    Raises:
      ValueError: the boundaries do not increase, or do not lie after the warm-up.
    """
    _check(factor > 0, "factor", factor, "above zero")
    edges = (warmup_steps, *boundaries)
    _check(all(a < b for a, b in itertools.pairwise(edges)), "boundaries", boundaries, "increasing, after the warm-up")
    levels = [factor**count for count in range(len(boundaries) + 1)]

    def share(step: jax.Array) -> jax.Array:
        passed = sum((step >= boundary - warmup_steps).astype(jnp.int32) for boundary in boundaries)
        return jnp.asarray(levels, step.dtype)[passed]

    return _warmed_up(share, peak, warmup_steps, warmup_from)


def exponential(
    *, peak: float, steps: int, end_fraction: float = 0.01, warmup_steps: int = 0, warmup_from: float = 0.0
) -> Schedule:
    """Falls by the same factor at every step, to `end_fraction * peak` at `steps`."""
    _check(end_fraction > 0, "end_fraction", end_fraction, "above zero")
    return _decaying(
        lambda progress: jnp.exp(math.log(end_fraction) * progress),
        peak=peak,
        steps=steps,
        end_fraction=end_fraction,
        warmup_steps=warmup_steps,
        warmup_from=warmup_from,
    )


def cosine(
    *, peak: float, steps: int, end_fraction: float = 0.0, warmup_steps: int = 0, warmup_from: float = 0.0
) -> Schedule:
    """Half a cosine from the peak to `end_fraction * peak` at `steps` (Loshchilov and Hutter, 2017, equation 5).

    >>> rate = cosine(peak=1.0, steps=100)
    >>> float(rate(0)), float(rate(100))
    (1.0, 0.0)
    """
    return _decaying(
        lambda progress: end_fraction + (1 - end_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * progress)),
        peak=peak,
        steps=steps,
        end_fraction=end_fraction,
        warmup_steps=warmup_steps,
        warmup_from=warmup_from,
    )


def linear(
    *, peak: float, steps: int, end_fraction: float = 0.0, warmup_steps: int = 0, warmup_from: float = 0.0
) -> Schedule:
    """A straight line from the peak to `end_fraction * peak` at `steps`."""
    return polynomial(
        peak=peak,
        steps=steps,
        power=1.0,
        end_fraction=end_fraction,
        warmup_steps=warmup_steps,
        warmup_from=warmup_from,
    )


def polynomial(
    *,
    peak: float,
    steps: int,
    power: float = 2.0,
    end_fraction: float = 0.0,
    warmup_steps: int = 0,
    warmup_from: float = 0.0,
) -> Schedule:
    """Falls to `end_fraction * peak` as the share of steps that is left, to the given power."""
    _check(power > 0, "power", power, "above zero")
    return _decaying(
        lambda progress: end_fraction + (1 - end_fraction) * (1 - progress) ** power,
        peak=peak,
        steps=steps,
        end_fraction=end_fraction,
        warmup_steps=warmup_steps,
        warmup_from=warmup_from,
    )


def inverse_sqrt(*, peak: float, warmup_steps: int, timescale: int | None = None, warmup_from: float = 0.0) -> Schedule:
    """Falls as one over the square root of the step after the warm-up (Vaswani et al., 2017, equation 3).

    Args:
      peak: The learning rate at `warmup_steps`.
      warmup_steps: At least 1, unless `timescale` is given.
      timescale: How many steps after the warm-up make the learning rate `peak / sqrt(2)`; `warmup_steps` by default,
        which makes it `peak * sqrt(warmup_steps / step)`.
      warmup_from: The share of the peak at step 0.
    """
    scale = warmup_steps if timescale is None else timescale
    _check(scale > 0, "warmup_steps" if timescale is None else "timescale", scale, "1 or more")
    return _warmed_up(lambda step: jnp.sqrt(scale / (scale + step)), peak, warmup_steps, warmup_from)


def warmup_stable_decay(
    *,
    peak: float,
    steps: int,
    decay_steps: int,
    end_fraction: float = 0.0,
    shape: Literal["linear", "sqrt", "cosine"] = "linear",
    warmup_steps: int = 0,
    warmup_from: float = 0.0,
) -> Schedule:
    """Stays at the peak and falls over the last `decay_steps` (Hu et al., 2024; `sqrt`: Haegele et al., 2024).

    Args:
      peak: The learning rate of the stable part.
      steps: The last step, where the learning rate is `end_fraction * peak`.
      decay_steps: How many of the steps decay.
      end_fraction: The share of the peak that is left.
      shape: `"sqrt"` falls as one minus the square root of the progress.
      warmup_steps: How many of the steps warm up.
      warmup_from: The share of the peak at step 0.
    """
    curves: dict[str, Callable[[jax.Array], jax.Array]] = {
        "linear": lambda progress: 1 - progress,
        "sqrt": lambda progress: 1 - jnp.sqrt(progress),
        "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    }
    _check(shape in curves, "shape", shape, f"one of {', '.join(curves)}")
    _check(end_fraction >= 0, "end_fraction", end_fraction, "zero or more")
    _check(0 < decay_steps <= steps - warmup_steps, "decay_steps", decay_steps, "from 1 to steps - warmup_steps")
    start = steps - warmup_steps - decay_steps

    def share(step: jax.Array) -> jax.Array:
        progress = jnp.clip((step - start) / decay_steps, 0, 1)
        falling = end_fraction + (1 - end_fraction) * curves[shape](progress)
        return jnp.where(step >= start + decay_steps, end_fraction, falling)

    return _warmed_up(share, peak, warmup_steps, warmup_from)


def one_cycle(
    *,
    peak: float,
    steps: int,
    rise_fraction: float = 0.3,
    start_fraction: float = 0.04,
    end_fraction: float = 4e-6,
    shape: Literal["cosine", "linear"] = "cosine",
) -> Schedule:
    """Rises to the peak and falls far below the start (Smith and Topin, 2018).

    As in `torch.optim.lr_scheduler.OneCycleLR`, the peak is at `rise_fraction * steps - 1` and the end at `steps - 1`.

    Args:
      peak: The highest learning rate.
      steps: The length of the training.
      rise_fraction: The share of the steps that rises.
      start_fraction: The share of the peak at step 0.
      end_fraction: The share of the peak at the last step.
      shape: The curve of both parts.
    """
    _check(shape in ("cosine", "linear"), "shape", shape, "cosine or linear")
    _check(0 < rise_fraction < 1, "rise_fraction", rise_fraction, "between 0 and 1")
    top, last = rise_fraction * steps - 1, steps - 1
    _check(0 < top < last, "steps", steps, "so large that at least one step rises and one falls")

    def ease(progress: jax.Array) -> jax.Array:
        progress = jnp.clip(progress, 0, 1)
        return progress if shape == "linear" else 0.5 * (1 - jnp.cos(jnp.pi * progress))

    def share(step: jax.Array) -> jax.Array:
        rising = start_fraction + (1 - start_fraction) * ease(step / top)
        falling = 1 + (end_fraction - 1) * ease((step - top) / (last - top))
        return jnp.where(step >= last, end_fraction, jnp.where(step <= top, rising, falling))

    return _warmed_up(share, peak, 0, 0.0)


def _decaying(
    curve: Callable[[jax.Array], jax.Array],
    *,
    peak: float,
    steps: int,
    end_fraction: float,
    warmup_steps: int,
    warmup_from: float,
) -> Schedule:
    """`curve(progress)` as a share of the peak, where progress runs from 0 after the warm-up to 1 at `steps`."""
    _check(end_fraction >= 0, "end_fraction", end_fraction, "zero or more")
    _check(steps > warmup_steps, "steps", steps, f"more than the {warmup_steps} warm-up steps")
    decay_steps = steps - warmup_steps

    def share(step: jax.Array) -> jax.Array:
        progress = jnp.clip(step / decay_steps, 0, 1)
        # By the step: the division may round to just below 1.
        return jnp.where(step >= decay_steps, end_fraction, curve(progress))

    return _warmed_up(share, peak, warmup_steps, warmup_from)


def _warmed_up(share: Callable[[jax.Array], jax.Array], peak: float, warmup_steps: int, warmup_from: float) -> Schedule:
    """A linear rise to the peak, then `peak * share(steps since the warm-up)`."""
    _check(peak >= 0 and math.isfinite(peak), "peak", peak, "a finite number, zero or more")
    _check(warmup_steps >= 0, "warmup_steps", warmup_steps, "zero or more")
    _check(0 <= warmup_from <= 1, "warmup_from", warmup_from, "from 0 to 1")

    def schedule(step: Any) -> jax.Array:
        step = jnp.asarray(step)
        later = jnp.maximum(step - warmup_steps, 0).astype(float)
        value = peak * share(later)
        if warmup_steps == 0:
            return value
        rising = peak * (warmup_from + (1 - warmup_from) * (step.astype(float) / warmup_steps))
        return jnp.where(step < warmup_steps, rising, value)

    return schedule


def _check(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}.")
