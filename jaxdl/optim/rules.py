"""Update rules: from a gradient to a direction, without a learning rate and without a sign.

Each function returns an `optax.GradientTransformation` for the `rule` of `jaxdl.optim.optimizer`, which subtracts
the direction times the learning rate. Any `optax.scale_by_*` transformation is a rule as well. The defaults are
those of `torch.optim` where the same method is there, and the numbers agree with it (tests compare 20 steps in
float64) but for what the docstring of a rule says.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.types import Array, PyTree


def sgd(*, momentum: float = 0.0, nesterov: bool = False, dampening: float = 0.0) -> optax.GradientTransformation:
    """Gradient descent, with heavy-ball or Nesterov momentum (Sutskever et al., 2013) kept as a sum of gradients.

    Args:
      momentum: The share of the old velocity that stays, in [0, 1).
      nesterov: Look ahead along the velocity.
      dampening: The share of each new gradient, the first excepted, that is left out of the velocity.

    Raises:
      ValueError: Nesterov without momentum, or with dampening, is not defined.
    """
    _check_share("momentum", momentum)
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(f"nesterov=True needs momentum above 0 and dampening=0, not {momentum=} and {dampening=}.")
    if momentum == 0:
        return optax.identity()
    if dampening == 0:
        return optax.trace(momentum, nesterov)
    return _dampened(momentum, dampening)


def adam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015, algorithm 1).

    AdamW is this rule with the `weight_decay` of `optimizer` (Loshchilov and Hutter, 2019); L2 inside Adam, as
    `torch.optim.Adam(weight_decay=...)` has it, is the `l2` of `optimizer`. For AMSGrad use `optax.scale_by_amsgrad`,
    which, unlike torch, takes the maximum of the bias-corrected moment.
    """
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.scale_by_adam(b1, b2, eps)


def nadam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam with Nesterov momentum (Dozat, 2016) at a constant b1; torch also warms b1 up, and differs."""
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.scale_by_adam(b1, b2, eps, nesterov=True)


def radam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al., 2020); torch adds `eps` before the bias correction, here it is added after it."""
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.scale_by_radam(b1, b2, eps)


def adamax(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam with the infinity norm (Kingma and Ba, 2015, section 7.1)."""
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.scale_by_adamax(b1, b2, eps)


def lion(*, b1: float = 0.9, b2: float = 0.99) -> optax.GradientTransformation:
    """The sign of an interpolated momentum (Chen et al., 2023); its learning rates are 3 to 10 times below Adam's."""
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.scale_by_lion(b1, b2)


def lamb(
    *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam scaled to the norm of each parameter, for large batches (You et al., 2020, algorithm 2).

    Args:
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      eps: Added to the denominator.
      weight_decay: LAMB's own decay, which the scaling sees; it leaves vectors and scalars out. The `weight_decay` of
        `optimizer` comes after the scaling and is another method.
    """
    _check_share("b1", b1)
    _check_share("b2", b2)
    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
        optax.scale_by_trust_ratio(),
    )


def rmsprop(
    *, decay: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> optax.GradientTransformation:
    """The gradient over its running root mean square (Hinton, 2012), with `eps` outside the root as in torch.

    Args:
      decay: Decay of the running mean of squares (torch: `alpha`). `optax.rmsprop` has 0.9.
      eps: Added to the root. `optax.rmsprop` adds it inside the root.
      momentum: Of the scaled gradients.
      centered: Divide by the standard deviation instead (Graves, 2013, equations 38 to 41).
    """
    _check_share("decay", decay)
    _check_share("momentum", momentum)
    scale = _scale_by_deviation(decay, eps) if centered else optax.scale_by_rms(decay, eps, eps_in_sqrt=False)
    return optax.chain(scale, optax.trace(momentum)) if momentum else scale


def adagrad(*, initial_accumulator: float = 0.0, eps: float = 1e-10) -> optax.GradientTransformation:
    """The gradient over the root of the sum of its squares (Duchi et al., 2011), with `eps` outside the root.

    Args:
      initial_accumulator: The sum of squares at the start. `optax.adagrad` has 0.1.
      eps: Added to the root. `optax.adagrad` has 1e-7 inside it.
    """

    def init(params: PyTree) -> AdagradState:
        return AdagradState(squares=optax.tree.full_like(params, initial_accumulator))

    def update(updates: PyTree, state: AdagradState, params: PyTree | None = None) -> tuple[PyTree, AdagradState]:
        del params
        squares = jax.tree.map(lambda s, g: s + jnp.square(g), state.squares, updates)
        return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, squares), AdagradState(squares=squares)

    return optax.GradientTransformation(init, update)


def adadelta(*, rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """Steps in the units of the parameters (Zeiler, 2012, algorithm 1); its learning rate is usually 1."""
    _check_share("rho", rho)
    return optax.scale_by_adadelta(rho, eps)


def adafactor(
    *,
    decay_rate: float = 0.8,
    eps: float = 1e-30,
    clip_threshold: float | None = 1.0,
    parameter_scale: bool = True,
    momentum: float | None = None,
    min_size_to_factor: int = 128,
) -> optax.GradientTransformation:
    """Adam's second moment as an outer product of row and column means (Shazeer and Stern, 2018, algorithms 4, 5).

    The learning rate is relative to the size of the parameters where `parameter_scale` is set; the paper's is
    `min(0.01, 1 / sqrt(step))`, of which `torch.optim.Adafactor` always applies the second part and this rule
    nothing: give it as the schedule.

    Args:
      decay_rate: The second moment decays by `1 - step ** -decay_rate`.
      eps: Added to the squared gradients.
      clip_threshold: The largest root mean square of an update of one parameter; None for any.
      parameter_scale: Multiply by the root mean square of the parameter (at least 1e-3).
      momentum: Of the updates; None keeps none and saves the memory.
      min_size_to_factor: Matrices whose two largest axes are smaller keep the full second moment; torch always
        factors, along the last two axes.
    """
    parts = [optax.scale_by_factored_rms(True, decay_rate, 0, min_size_to_factor, eps)]
    if clip_threshold is not None:
        parts.append(optax.clip_by_block_rms(clip_threshold))
    if parameter_scale:
        parts.append(optax.scale_by_param_block_rms())
    if momentum is not None:
        _check_share("momentum", momentum)
        parts.append(optax.ema(momentum, debias=False))
    return optax.chain(*parts)


class AdagradState(NamedTuple):
    """The sum of the squared gradients."""

    squares: PyTree


class DampenedState(NamedTuple):
    """The velocity, and the number of updates (int32), whose first is not dampened."""

    step: Array
    velocity: PyTree


class DeviationState(NamedTuple):
    """Running means of the gradients and of their squares."""

    mean: PyTree
    square: PyTree


def _dampened(momentum: float, dampening: float) -> optax.GradientTransformation:
    def init(params: PyTree) -> DampenedState:
        return DampenedState(step=jnp.zeros((), jnp.int32), velocity=optax.tree.zeros_like(params))

    def update(updates: PyTree, state: DampenedState, params: PyTree | None = None) -> tuple[PyTree, DampenedState]:
        del params
        share = jnp.where(state.step == 0, 1.0, 1 - dampening)
        velocity = jax.tree.map(lambda v, g: momentum * v + share.astype(g.dtype) * g, state.velocity, updates)
        return velocity, DampenedState(step=optax.safe_increment(state.step), velocity=velocity)

    return optax.GradientTransformation(init, update)


def _scale_by_deviation(decay: float, eps: float) -> optax.GradientTransformation:
    """`optax.scale_by_stddev` with a variance that rounding cannot turn negative, which would give NaN."""

    def init(params: PyTree) -> DeviationState:
        return DeviationState(mean=optax.tree.zeros_like(params), square=optax.tree.zeros_like(params))

    def update(updates: PyTree, state: DeviationState, params: PyTree | None = None) -> tuple[PyTree, DeviationState]:
        del params
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        square = jax.tree.map(lambda s, g: decay * s + (1 - decay) * jnp.square(g), state.square, updates)

        def scaled(gradient: Array, m: Array, s: Array) -> Array:
            return gradient / (jnp.sqrt(jnp.maximum(s - jnp.square(m), 0)) + eps)

        return jax.tree.map(scaled, updates, mean, square), DeviationState(mean=mean, square=square)

    return optax.GradientTransformation(init, update)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; it must be in [0, 1).")
