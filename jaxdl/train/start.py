"""The state of a new run: initialised at random, or from weights that exist."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax

from jaxdl import trees
from jaxdl.interop import transfer
from jaxdl.learners import TrainState
from jaxdl.optim import groups
from jaxdl.train.experiment import Experiment
from jaxdl.train.program import Program


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Where a new run starts.

    Attributes:
      state: At step 0.
      notes: What there is to say of it.
      record: Texts to keep in the run folder, by file name.
    """

    state: TrainState
    notes: tuple[str, ...] = ()
    record: Mapping[str, str] = dataclasses.field(default_factory=dict)


def begin(experiment: Experiment, program: Program) -> Start:
    """The initial state, with the weights of `init_from` in it; they are read before anything is compiled.

    Averages of the parameters and the state of the optimizer start from those weights too. A wrapper that keeps
    parameters in `extras` under a name of its own starts from random ones.

    Raises:
      CheckpointError: the weights cannot be read, or do not fit.
      ConfigError: a pattern of `init_from` matches nothing.
    """
    if experiment.init_from is None:
        return Start(state=program.initial_state())
    shapes = _variables(program.state)
    read, report = transfer.apply(experiment.init_from, shapes, model=experiment.model)
    found = transfer.place(read, shapes)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, program.state)

    def started(state: TrainState, found: Mapping[str, Any]) -> TrainState:
        variables = transfer.merged(_variables(state), found)
        params = variables.pop("params")
        state = state.replace(params=params, model_state=variables)
        if "average" in state.extras:
            average = {"params": params, "model_state": variables}
            state = state.replace(extras={**state.extras, "average": average})
        return state.replace(opt_state=_optimizer_state(experiment, state))

    state = jax.jit(started, out_shardings=shardings)(program.initial_state(), found)
    path = experiment.init_from.path
    record = {"init.json": json.dumps({"path": path, **report.json()}, indent=1) + "\n"}
    return Start(state=state, notes=(f"Initialised from {path}:\n{report}",), record=record)


def _variables(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, **state.model_state}


def _optimizer_state(experiment: Experiment, state: TrainState) -> Any:
    """The optimizer's state for these parameters, of which it may keep copies."""
    if experiment.optimizer is None:
        return state.opt_state
    made = experiment.optimizer.init(groups.partition(state.params, experiment.frozen)[0])
    if trees.names(made) != trees.names(state.opt_state):
        return state.opt_state  # That of a wrapper.
    return made
