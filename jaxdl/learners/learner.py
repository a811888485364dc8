"""A learner is four pure functions over one state."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import struct

from jaxdl.types import Array, Batch, Key, Metrics, PyTree


class TrainState(struct.PyTreeNode):
    """All that changes while training: arrays only, so that it can be sharded, donated and saved.

    Attributes:
      step: Scalar int32, the number of steps taken.
      key: The random key of the run; every step derives its own from it and `step`.
      params: The parameters, trainable and frozen.
      model_state: The other collections of the model, such as batch statistics.
      opt_state: The state of the optimizer, over the trainable parameters.
      extras: The states of wrappers by their name, such as the averaged parameters.
    """

    step: Array
    key: Key
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    extras: dict[str, Any] = struct.field(default_factory=dict)


class Learner(NamedTuple):
    """What the loop trains. An algorithm is a function that returns one; a variation wraps one.

    Attributes:
      init: `(key, batch) -> state`; only the shapes and dtypes of the batch matter.
      step: `(state, batch) -> (state, metrics)`: one update.
      evaluate: `(state, batch) -> metrics`; whatever it draws must not come from `state.key`, which a loaded model
        does not have.
      predict: `(state, batch) -> outputs` of the model, leaves (B, ...).
    """

    init: Callable[[Key, Batch], TrainState]
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState, Batch], Metrics]
    predict: Callable[[TrainState, Batch], PyTree]
