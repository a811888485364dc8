"""Whether an experiment gives the same numbers on one device and spread over many."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.errors import InvalidRngError

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.learners import Precision
from jaxdl.optim import optimizer, sgd
from jaxdl.parallel import make_mesh
from jaxdl.train.experiment import Experiment
from jaxdl.train.program import prepare

# Adam moves by the sign of a gradient: where that is rounding alone, devices may go opposite ways.
_ABOVE_ROUNDING = 1e-3
# Gradients are read off a step so long that the parameters before it hardly round it.
_FAR = 2.0**20


class Run(NamedTuple):
    """What a few steps gave.

    Attributes:
      losses: Of each step.
      gradients: Of the first step, by parameter; empty for an experiment with a whole `learner`.
      start: The parameters before.
      params: The parameters after.
    """

    losses: np.ndarray
    gradients: Mapping[str, np.ndarray]
    start: Mapping[str, np.ndarray]
    params: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far a way to spread the work is from one device, relative to the size of what is compared.

    Attributes:
      name: Of the way.
      spread: Whether the way is over a mesh.
      loss: The largest difference of the losses of the steps.
      gradients: The largest difference of the first step's gradients, of the largest gradient of each parameter.
      params: The largest difference of the parameters after the last step, of the largest of each, where their
        gradients are more than rounding.
      worst: The parameter with the largest difference.
      skipped: Why it was not run, or None.
    """

    name: str
    spread: bool = False
    loss: float = 0.0
    gradients: float = 0.0
    params: float = 0.0
    worst: str = ""
    skipped: str | None = None

    def within(self, tolerance: float) -> bool:
        """Whether nothing differs by more; what was not run does not."""
        return max(self.loss, self.gradients, self.params) <= tolerance


def ways(devices: int, own: Mapping[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """Changes to an experiment that should change no number, by name; first its own mesh, where it says one.

    >>> list(ways(1))
    ['accumulation', 'rematerialisation']
    """
    found: dict[str, dict[str, Any]] = {"accumulation": {"microbatches": 2}, "rematerialisation": {"remat": "full"}}
    meshes: dict[str, Mapping[str, int]] = {"its own mesh": own} if own else {}
    if devices == 1:
        return {name: {"mesh": mesh} for name, mesh in meshes.items()} | found
    meshes |= {"data": {"data": devices}, "fsdp": {"fsdp": devices}}
    if devices % 2 == 0:
        for axis in ("tensor", "sequence", "expert", "stage"):
            meshes[axis] = {axis: 2, "data": devices // 2}
        meshes["data and fsdp"] = {"data": 2, "fsdp": devices // 2}
    if devices % 8 == 0:
        meshes["fsdp, tensor and sequence"] = {"tensor": 2, "sequence": 2, "fsdp": devices // 4}
        meshes["stage, fsdp and tensor"] = {"stage": 2, "tensor": 2, "fsdp": devices // 4}
    return {name: {"mesh": mesh} for name, mesh in meshes.items()} | found


def verify_parallel(
    experiment: Experiment, *, steps: int = 3, devices: Sequence[jax.Device] | None = None
) -> Iterator[Comparison]:
    """Trains a few steps on one device, and again in each of the `ways`, and compares.

    Args:
      experiment: Any; it is trained in float32, unless it has a whole `learner`.
      steps: How many.
      devices: To spread over; all by default.

    Raises:
      ConfigError: the experiment does not run on one device, or its mesh does not fit the devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    plain = _plain(experiment, steps)
    alone = _run(plain, devices[:1])
    own = experiment.mesh if experiment.mesh not in ({}, {"data": -1}) else None
    if own is not None:
        make_mesh(own, devices)
    for name, changes in ways(len(devices), own).items():
        here = devices if "mesh" in changes else devices[:1]
        if reason := _incomparable(plain, changes):
            yield Comparison(name=name, skipped=reason)
            continue
        try:
            found = _run(dataclasses.replace(plain, **changes), here)
        except ConfigError as error:
            yield Comparison(name=name, skipped=str(error))
            continue
        yield dataclasses.replace(_compared(name, alone, found), spread="mesh" in changes)


def _plain(experiment: Experiment, steps: int) -> Experiment:
    """The experiment for one device, one step a dispatch, without what runs beside the steps."""
    return dataclasses.replace(
        experiment,
        steps=steps,
        epochs=None,
        evals={},
        hooks=(),
        init_from=None,
        saving=dataclasses.replace(experiment.saving, best=None),
        mesh={},
        mapping="jit",
        microbatches=1,
        remat="none",
        steps_per_dispatch=1,
        precision=experiment.precision if experiment.learner is not None else Precision(),
    )


def _incomparable(experiment: Experiment, changes: Mapping[str, Any]) -> str | None:
    """Why a way must differ, or None."""
    if experiment.learner is not None:
        return None if "mesh" in changes else "the config has a whole `learner`, which must do this itself"
    staged = "mesh" in changes and "stage" in changes["mesh"]
    if "microbatches" not in changes and not staged:
        return None
    if not staged and experiment.train.batch_size % changes["microbatches"]:
        return f"a batch of {experiment.train.batch_size} does not split in {changes['microbatches']}"
    batch = experiment.train[0]
    inputs = dict(jax.eval_shape(experiment.task.inputs, batch))
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda x: experiment.model.init(key, **x, train=False), inputs)
    state = [name for name in variables if name != "params"]
    if state and not staged:
        return f"running statistics ({', '.join(state)}) are of a microbatch"
    try:
        jax.eval_shape(lambda v, x: experiment.model.apply(v, **x, train=True, mutable=state), variables, inputs)
    except InvalidRngError:
        return "dropout draws for a microbatch"
    return None


def _run(experiment: Experiment, devices: Sequence[jax.Device]) -> Run:
    start, losses, params = _steps(experiment, devices, experiment.total_steps)
    gradients: Mapping[str, np.ndarray] = {}
    if experiment.learner is None:
        descent = optimizer(rule=sgd(), learning_rate=_FAR)
        before, _, after = _steps(dataclasses.replace(experiment, optimizer=descent, ema_decay=None), devices, 1)
        gradients = {name: (before[name] - after[name]) / _FAR for name in before}
    return Run(losses, gradients, start, params)


def _steps(
    experiment: Experiment, devices: Sequence[jax.Device], count: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """The parameters before, the losses, and the parameters after."""
    program = prepare(experiment, devices)
    state = program.initial_state()
    start = _host(state.params)
    losses = []
    for _, batch in program.feed.batches(0, count, [1]):
        state, metrics = program.learner.step(state, batch)
        losses.append(float(metrics["loss"].compute()))
    return start, np.array(losses), _host(state.params)


def _host(params: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, np.float64) for name, leaf in trees.flatten(jax.device_get(params)).items()}


def _compared(name: str, alone: Run, found: Run) -> Comparison:
    floor = _largest(alone.gradients) * _ABOVE_ROUNDING
    by_gradient = {
        key: _apart(alone.gradients[key], found.gradients[key], alone.gradients[key], floor) for key in alone.gradients
    }
    by_change = {}
    for key, before in alone.start.items():
        clear = np.ones(before.shape, bool)
        if alone.gradients:
            size = np.abs(alone.gradients[key])
            clear = size > _ABOVE_ROUNDING * max(size.max(initial=0), floor)
        by_change[key] = _apart(alone.params[key][clear], found.params[key][clear], alone.params[key])
    worst = max(by_change, key=lambda key: max(by_change[key], by_gradient[key] if by_gradient else 0.0))
    return Comparison(
        name=name,
        loss=_apart(alone.losses, found.losses, alone.losses),
        gradients=max(by_gradient.values(), default=0.0),
        params=max(by_change.values()),
        worst=worst,
    )


def _largest(gradients: Mapping[str, np.ndarray]) -> float:
    return max((float(np.abs(x).max(initial=0)) for x in gradients.values()), default=0.0)


def _apart(one: np.ndarray, other: np.ndarray, scale: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference over the largest of the scale, at least the floor; infinite where it is not finite."""
    if not one.size:
        return 0.0
    apart = float(np.abs(one - other).max())
    if not math.isfinite(apart):
        return math.inf
    return apart / max(float(np.abs(scale).max()), floor, 1e-12) if apart else 0.0
