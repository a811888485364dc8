"""How many steps one call to the device should take."""

import math

import jax

from jaxdl.learners import Learner, TrainState
from jaxdl.types import Batch

_MOST = 256
_FLOPS_CPU = 2e8  # About 2 ms on two cores: an epoch of tiny steps is then a few calls.
_FLOPS_ACCELERATOR = 1e11


def steps_per_dispatch(learner: Learner, state: TrainState, batch: Batch) -> int:
    """A power of two: enough steps to hide the cost of a call, and 1 where that is hidden already.

    On CPU a convolution inside a loop runs on one thread, some 13 times slower, so there a model with
    convolutions always takes 1.

    Args:
      learner: Not compiled yet.
      state: Its state, or the shapes of it.
      batch: One batch, or the shapes of it.
    """
    traced = jax.jit(learner.step).trace(state, batch)
    cpu = jax.default_backend() == "cpu"
    if cpu and "conv_general_dilated" in str(traced.jaxpr):
        return 1
    known = _flops(traced.lower())
    flops = math.inf if known is None else max(1.0, known)
    return 2 ** int(math.log2(min(_MOST, max(1.0, (_FLOPS_CPU if cpu else _FLOPS_ACCELERATOR) / flops))))


def step_flops(learner: Learner, state: TrainState, batch: Batch) -> float | None:
    """The FLOPs of one step over the whole batch, on all devices together; None where they are not known.

    They are counted before compilation: a compiled step tells those of one device, and of both its branches where
    several steps are taken a call.

    Args:
      learner: Not compiled yet, without microbatches, whose loop counts once, and without rematerialisation.
      state: Its state, or the shapes of it.
      batch: One batch, or the shapes of it.
    """
    return _flops(jax.jit(learner.step).lower(state, batch))


def _flops(lowered: jax.stages.Lowered) -> float | None:
    costs = lowered.cost_analysis() or {}
    return float(costs["flops"]) if "flops" in costs else None
