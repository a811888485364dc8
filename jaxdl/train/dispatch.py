"""How many steps one call to the device should take."""

import math

import jax

from jaxdl.inspection import flops
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
    cpu = jax.default_backend() == "cpu"
    if cpu and "conv_general_dilated" in str(jax.make_jaxpr(learner.step)(state, batch)):
        return 1
    work = flops(learner.step, state, batch) + sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
    many = (_FLOPS_CPU if cpu else _FLOPS_ACCELERATOR) / work
    return 2 ** int(math.log2(min(_MOST, max(1.0, many))))
