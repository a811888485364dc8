"""From an experiment to compiled functions, the state they need, and the batches they take."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdl import trees
from jaxdl.data import Pipeline
from jaxdl.errors import ConfigError
from jaxdl.learners import Learner, TrainState, checked, gathered, repeated, unguarded
from jaxdl.optim import observe
from jaxdl.parallel import abstract_state, check_batch_size, idle_axes, make_mesh, pmapped, row_shard, shard
from jaxdl.train.dispatch import steps_per_dispatch
from jaxdl.train.evaluation import Pass
from jaxdl.train.experiment import Experiment, assemble
from jaxdl.train.feed import Feed, resident
from jaxdl.train.hooks import Plateau, Scheduled
from jaxdl.train.report import Report, predictions
from jaxdl.train.vocabulary import check_vocabulary
from jaxdl.types import Batch, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What the loop runs.

    Attributes:
      learner: Compiled for the mesh; `step` takes the batches of `feed`, `evaluate` and `predict` plain ones (B, ...).
      state: The shapes, dtypes and shardings of the state.
      key: The key that the state is initialised from.
      feed: Training batches.
      evals: Evaluations with their compiled learners.
      sample: The shapes and dtypes of a training batch (B, ...).
    """

    learner: Learner
    state: TrainState
    key: Key
    feed: Feed
    evals: tuple[Scheduled, ...]
    sample: Batch

    def initial_state(self) -> TrainState:
        """The state at step 0."""
        return self.learner.init(self.key, self.sample)


def prepare(experiment: Experiment, devices: Sequence[jax.Device] | None = None) -> Program:
    """Compiles nothing yet, but checks the first batch, traces the model, and moves resident data to the devices.

    Args:
      experiment: What to run.
      devices: Where; on all of them by default.

    Raises:
      ConfigError: the parts of the experiment do not fit together, or do not fit the devices.
      DataError: the data is bad.
    """
    mesh = make_mesh(experiment.mesh) if devices is None else make_mesh(experiment.mesh, devices)
    _check_mapping(experiment, mesh)
    check_vocabulary(experiment)
    pipeline = _local(experiment, experiment.train, mesh, "train")
    sample = _global_shapes(pipeline[0], pipeline.batch_size)
    base = assemble(experiment)
    key = jax.random.key(experiment.seed)
    state = abstract_state(base, key, sample, mesh, experiment.rules)
    _check_watched(experiment, state, sample)
    data = resident(pipeline, mesh, False if experiment.mapping == "pmap" else experiment.resident)
    size = _size(experiment, base, state, sample, streamed=data is None)
    learner = _compiled(experiment, _taking(experiment, base, data, size), state, mesh, base, sample)
    feed = Feed(pipeline=pipeline, mesh=mesh, size=size, data=data)
    evals = tuple(_scheduled(experiment, name, base, learner, state, mesh) for name in experiment.evals)
    return Program(learner=learner, state=state, key=key, feed=feed, evals=evals, sample=sample)


def compile_step(program: Program, batch: Batch) -> tuple[Program, float]:
    """Compiles the step ahead of its first call; returns the program, and the seconds it took."""
    step = program.learner.step
    if not hasattr(step, "lower"):
        return program, 0.0
    began = time.perf_counter()
    compiled = step.lower(program.state, batch).compile()
    seconds = time.perf_counter() - began
    if program.feed.pipeline.window is not None:
        compiled = _for_shapes(batch, compiled, step)
    return dataclasses.replace(program, learner=program.learner._replace(step=compiled)), seconds


def _for_shapes(batch: Batch, compiled: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled step for batches of the shapes of this one, and for others the one that compiles when called."""
    shapes = {name: x.shape for name, x in batch.items()}

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        fits = all(x.shape == shapes[name] for name, x in batch.items())
        return (compiled if fits else other)(state, batch)

    return step


def _local(experiment: Experiment, pipeline: Pipeline, mesh: Mesh, what: str) -> Pipeline:
    """The pipeline of this process, with the experiment's seed and the task's checks."""
    check_batch_size(mesh, pipeline.batch_size, what=what)
    check = getattr(experiment.task, "check", None)
    return dataclasses.replace(
        pipeline,
        seed=experiment.seed,
        shard=row_shard(mesh),
        check=pipeline.check or check,
    )


def _check_mapping(experiment: Experiment, mesh: Mesh) -> None:
    """Raises ConfigError where `pmap` should split what it does not: it only knows of rows of batches, over `data`."""
    others = [f"{axis} ({size})" for axis, size in mesh.shape.items() if size > 1 and axis != "data"]
    if experiment.mapping == "pmap" and others:
        raise ConfigError(
            f"mapping='pmap' spreads rows over the mesh axis `data` alone, and the mesh has {', '.join(others)}: set "
            "mapping='jit', or give `data` all the devices."
        )


def _check_watched(experiment: Experiment, state: TrainState, sample: Batch) -> None:
    """Raises ConfigError where something waits for a result that no evaluation will give."""
    watched = experiment.watched()
    reported = {name: _names(evaluation.report) for name, evaluation in experiment.evals.items()}
    if not watched and not any(reported.values()):
        return
    if any(isinstance(hook, Plateau) for hook in experiment.hooks):
        jax.eval_shape(lambda opt_state: observe(opt_state, 0.0), state.opt_state)
    learner = assemble(dataclasses.replace(experiment, mapping="jit"))  # Without axes that only `pmap` names.
    shapes = jax.eval_shape(learner.evaluate, state, sample)
    values = {name: jax.eval_shape(lambda metric: metric.compute(), shape) for name, shape in shapes.items()}
    there = sorted(name for name, value in values.items() if value.shape == ())
    for evaluation, names in reported.items():
        if twice := sorted(set(names or ()) & set(values)):
            raise ConfigError(f"The report of {evaluation!r} and the task both give {', '.join(twice)}: rename one.")
    for what, metric in watched.items():
        evaluation, _, name = metric.partition("/")
        names = reported[evaluation]
        if name not in there and names is not None and name not in names:
            known = ", ".join([*there, *names])
            raise ConfigError(f"{what} is {metric!r}, but the results of an evaluation are {known}.")


def _names(report: Report | None) -> tuple[str, ...] | None:
    """What a report gives; None where it does not say."""
    if report is None:
        return ()
    return tuple(report.names) if hasattr(report, "names") else None


def _global_shapes(batch: Mapping[str, np.ndarray], rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    canonical = jax.dtypes.canonicalize_dtype  # Without x64, JAX makes 32 bits of 64.
    return {name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), canonical(x.dtype)) for name, x in batch.items()}


def _size(experiment: Experiment, learner: Learner, state: TrainState, sample: Batch, *, streamed: bool) -> int:
    if experiment.mapping == "pmap":
        return 1
    if experiment.train.window is not None:
        if experiment.steps_per_dispatch not in (None, 1):
            raise ConfigError("The batches of a window differ in shape: take steps_per_dispatch=1.")
        return 1
    if experiment.steps_per_dispatch is not None:
        return experiment.steps_per_dispatch
    if streamed or experiment.total_steps == 1:
        return 1
    return min(steps_per_dispatch(learner, state, sample), 2 ** int(math.log2(experiment.total_steps)))


def _taking(experiment: Experiment, learner: Learner, data: Mapping[str, Any] | None, size: int) -> Learner:
    """The learner for batches as the feed makes them."""
    if size == 1:
        return _from(data, learner)
    fast = assemble(experiment, guard=unguarded)
    many = (repeated(_from(data, one)) for one in (fast, learner))
    return checked(*many, limit=experiment.nonfinite_limit)


def _from(data: Mapping[str, Any] | None, learner: Learner) -> Learner:
    return learner if data is None else gathered(learner)


def _compiled(
    experiment: Experiment, learner: Learner, state: TrainState, mesh: Mesh, base: Learner, sample: Batch
) -> Learner:
    """The learner for the mesh, but for `init`, which is the same for every form that batches take."""
    if experiment.mapping == "pmap":
        compiled = pmapped(learner, mesh)
    else:
        compiled = shard(base, state, mesh, experiment.activations)
        compiled = compiled._replace(step=shard(learner, state, mesh, experiment.activations).step)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)

    def init(key: Key) -> TrainState:
        return base.init(key, {name: jnp.zeros(x.shape, x.dtype) for name, x in sample.items()})

    initialise = jax.jit(init, out_shardings=shardings)
    return compiled._replace(init=lambda key, batch: initialise(key))


def _scheduled(
    experiment: Experiment, name: str, base: Learner, trained: Learner, state: TrainState, mesh: Mesh
) -> Scheduled:
    evaluation = experiment.evals[name]
    pipeline = _local(experiment, evaluation.data, mesh, f"evals.{name}")
    streamed = experiment.mapping == "pmap" or experiment.resident is False
    data = resident(pipeline, mesh, False if streamed else None)
    learner = trained if experiment.mapping == "pmap" else shard(_from(data, base), state, mesh, experiment.activations)
    batches = Pass(pipeline=pipeline, mesh=mesh, data=data)
    return Scheduled(
        name=name,
        learner=learner,
        batches=batches,
        every=evaluation.interval(experiment.steps_per_epoch),
        at_end=evaluation.at_end,
        report=_reporting(experiment, name, learner),
    )


def _reporting(
    experiment: Experiment, name: str, learner: Learner
) -> Callable[[TrainState, Iterable[Batch]], Mapping[str, float]] | None:
    """The report of an evaluation, of a state and the batches of a pass."""
    report = experiment.evals[name].report
    if report is None:
        return None
    decode = getattr(experiment.task, "decode", None)
    if decode is None:
        raise ConfigError(f"The report of {name!r} needs a task with `decode`.")

    def results(state: TrainState, batches: Iterable[Batch]) -> Mapping[str, float]:
        return {key: float(x) for key, x in report(predictions(learner, decode, state, batches)).items()}

    return results


def idle(program: Program) -> str | None:
    """What to say of axes of the mesh whose devices all do the same; None where there is none."""
    mesh = program.feed.mesh
    found = idle_axes(mesh, program.state.params, program.sample)
    axes = ", ".join(f"{axis} ({mesh.shape[axis]})" for axis in found)
    return f"The mesh splits nothing of this model over {axes}: these devices do the same work." if axes else None


def describe(program: Program) -> str:
    """One line on what will run."""
    mesh = program.feed.mesh
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1)
    where = "on the device" if program.feed.data is not None else "streamed"
    return (
        f"{trees.count(program.state.params):,} parameters on {mesh.size} {mesh.devices.flat[0].device_kind} "
        f"device{'s' if mesh.size > 1 else ''}{f' ({axes})' if axes else ''}; data {where}; "
        f"{program.feed.size} step{'s' if program.feed.size > 1 else ''} a dispatch"
    )
