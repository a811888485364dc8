"""Taking one step of a run again, and looking into it."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checkpoint import Checkpoints, Restored, committed_steps
from jaxdl.errors import ConfigError
from jaxdl.inspection.values import Event, Recorder, first_nonfinite
from jaxdl.learners import TrainState
from jaxdl.metrics import Mean
from jaxdl.train.experiment import Experiment, assemble
from jaxdl.train.folder import RunFolder
from jaxdl.train.hooks import Evaluate, Log
from jaxdl.train.hooks.save import recall
from jaxdl.train.loop import Hook, chunks, fit
from jaxdl.train.program import Program, prepare
from jaxdl.train.resume import is_unfinished
from jaxdl.train.rollback import RollBack, batch_number, recorded, spans
from jaxdl.train.start import begin
from jaxdl.train.writers import read_rows
from jaxdl.types import Array, Batch, Metrics, PyTree


class Example(NamedTuple):
    """One row of a batch.

    Attributes:
      number: In the training data.
      name: As its source describes it.
      loss: By itself.
    """

    number: int
    name: str
    loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """What a step did.

    Attributes:
      step: Which.
      batch: The number of its batch.
      examples: What each row of the batch is.
      start: The step of the checkpoint that it was reached from; 0 for the beginning.
      events: What was computed, in order: parameters first, then layers forward, the loss, layers backward, the
        gradients of the parameters, and their updates.
      first: The first of them with a number that is not finite.
      rows: The rows of the batch that are not finite there.
      compared: The rows of the log that were computed again.
      differing: Those that came out otherwise, as `(step, name, logged, replayed)`.
      notes: What else to know.
    """

    step: int
    batch: int
    examples: tuple[Example, ...]
    start: int
    events: tuple[Event, ...]
    first: Event | None
    rows: tuple[int, ...]
    compared: tuple[int, ...]
    differing: tuple[tuple[int, str, Any, Any], ...]
    notes: tuple[str, ...]


def replay(experiment: Experiment, workdir: str | Path, step: int, *, rollbacks: int | None = None) -> Replay:
    """Takes a step of a run again: from the newest checkpoint before it exactly as training did, then op by op.

    Args:
      experiment: That of the run.
      workdir: The run folder, which is only read.
      step: Counted from 1, as the log does.
      rollbacks: Look at what happened after so many of the run's roll-backs; by default after all of them.

    Raises:
      ConfigError: the experiment has a whole `learner`, or no such step or roll-back.
      CheckpointError: a checkpoint is corrupt or of another model.
    """
    if experiment.learner is not None:
        raise ConfigError("A config with a whole `learner` cannot be looked into: replay needs `model` and `task`.")
    if not 1 <= step <= experiment.total_steps:
        raise ConfigError(f"There is no step {step}: the run has the steps 1 to {experiment.total_steps}.")
    folder = RunFolder(Path(workdir).absolute())
    backs = _rollbacks(folder, rollbacks)
    program = prepare(experiment)
    beginning = _nearest(folder, program, step - 1, backs)
    if beginning is None:
        beginning = Restored(step=0, state=begin(experiment, program).state, info={"hooks": {}}, metrics={})
    logged = _logged(folder, beginning.step)
    end = min((at for at in logged if at >= step), default=step)
    before, rows = _again(experiment, program, beginning, step, backs, end)
    pipeline = dataclasses.replace(program.feed.pipeline, shard=(0, 1))
    batch = batch_number(step - 1, backs)
    events, losses = dissect(experiment, before, pipeline[batch])
    compared = {at: row for at, row in rows.items() if at in logged}
    return Replay(
        step=step,
        batch=batch,
        examples=tuple(
            Example(number=number, name=pipeline.describe(number), loss=float(loss))
            for number, loss in zip(pipeline.indices(batch).tolist(), losses, strict=True)
        ),
        start=beginning.step,
        events=tuple(events),
        first=first_nonfinite(events),
        rows=_bad_rows(events, losses),
        compared=tuple(compared),
        differing=tuple(_differences(logged, compared)),
        notes=tuple(_notes(experiment, folder)),
    )


def dissect(experiment: Experiment, state: TrainState, batch: Batch) -> tuple[list[Event], np.ndarray]:
    """Takes a step op by op on one device: `(what was computed, the loss of each row by itself)`."""
    recorder = Recorder(len(batch["mask"]), experiment.microbatches)
    task = _Watched(experiment.task, recorder)
    once = dataclasses.replace(
        experiment,
        task=task,
        optimizer=_watched(experiment.optimizer, recorder),
        remat="none",
        mapping="jit",
        ema_decay=None,
    )
    learner = assemble(once, guard=lambda learner, **settings: learner)
    state, batch = jax.device_put((state, dict(batch)), jax.devices()[0])
    recorder.parameters(state.params, "parameter")
    with jax.disable_jit(), recorder.watching():
        learner.step(state, batch)
    jax.effects_barrier()
    return recorder.events, task.losses()


class _Watched:
    """A task whose loss is written down too."""

    def __init__(self, task: Any, recorder: Recorder) -> None:
        self._task, self._recorder = task, recorder
        self._parts: list[tuple[PyTree, Batch]] = []

    def inputs(self, batch: Batch) -> Mapping[str, Array]:
        if not any(isinstance(x, jax.core.Tracer) for x in batch.values()):
            self._recorder.begin_part()
        return self._task.inputs(batch)

    def score(self, outputs: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        kept = jax.tree.map(jax.lax.stop_gradient, outputs)
        if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((kept, batch))):
            self._parts.append((kept, batch))
        loss, metrics = self._task.score(outputs, batch)
        loss = loss.replace(total=self._recorder.seen(loss.total, "", "loss"))
        self._recorder.end_forward()
        return loss, metrics

    def measure(self, outputs: PyTree, batch: Batch) -> Metrics:
        return self._task.measure(outputs, batch)

    def losses(self) -> np.ndarray:
        """The loss of each row by itself."""
        loss = jax.jit(lambda outputs, batch: self._task.score(outputs, batch)[0].total)
        found = np.zeros((len(self._parts[0][1]["mask"]), len(self._parts)))
        for part, pair in enumerate(self._parts):
            for row in range(len(found)):
                one = jax.tree.map(lambda x, row=row: x[row : row + 1] if len(np.shape(x)) else x, pair)
                found[row, part] = loss(*one)
        return found.ravel()


def _watched(optimizer: Any, recorder: Recorder) -> Any:
    """An optimizer whose gradients and updates are written down."""
    given = optimizer.update

    def update(gradients: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> tuple[PyTree, PyTree]:
        recorder.parameters(gradients, "parameter gradient")
        updates, state = given(gradients, state, params, **extra)
        recorder.parameters(updates, "update")
        return updates, state

    return optimizer._replace(update=update)


def _bad_rows(events: Sequence[Event], losses: np.ndarray) -> tuple[int, ...]:
    """The rows that are the first not to be finite; where a parameter is at fault, those that it first reaches."""
    for event in events:
        if event.what == "loss" and event.stats.nonfinite:
            return tuple(np.flatnonzero(~np.isfinite(losses)).tolist())
        if event.rows:
            return event.rows
    return ()


def _rollbacks(folder: RunFolder, count: int | None) -> tuple[RollBack, ...]:
    found = folder.rollbacks()
    if count is not None and count > len(found):
        raise ConfigError(f"There is no roll-back {count}: {folder.path / 'rollbacks.json'} has {len(found)}.")
    return found[:count]


def _nearest(folder: RunFolder, program: Program, most: int, rollbacks: tuple[RollBack, ...]) -> Restored | None:
    """The newest checkpoint of at most so many steps that lies on the way that these returns describe."""
    steps = [step for step in committed_steps(folder.checkpoints) if step <= most]
    if not steps:
        return None
    with Checkpoints(folder.checkpoints, keep=None, read_only=True) as checkpoints:
        for step in reversed(steps):
            found = checkpoints.restore(program.state, step=step)
            if found is None or is_unfinished(found):
                continue
            known = recorded(found.info)
            rest = rollbacks[len(known) :]
            if rollbacks[: len(known)] == known and all(back.step >= step for back in rest):
                return found
    return None


def _again(
    experiment: Experiment, program: Program, beginning: Restored, step: int, rollbacks: Sequence[RollBack], end: int
) -> tuple[TrainState, dict[int, Mapping[str, Any]]]:
    """The state before `step`, and the rows of the log up to `end`; calls of the step are those that training made."""
    rows: dict[int, Mapping[str, Any]] = {}
    log = Log(experiment.log_every, rows.__setitem__, last=experiment.total_steps)
    recall((log, *experiment.hooks), beginning.info["hooks"])
    judge = Evaluate(program.evals if experiment.hooks else (), experiment.total_steps, lambda *row: None, log.flush)
    hooks: tuple[Hook, ...] = (log, judge, *experiment.hooks)
    intervals = experiment.intervals()

    def go(state: TrainState, start: int, stop: int, hooks: Sequence[Hook]) -> TrainState:
        with contextlib.closing(program.feed.batches(start, stop, intervals, rollbacks)) as batches:
            return fit(program.learner, batches, state, hooks=hooks).state

    parts = spans(beginning.step, experiment.total_steps, rollbacks)
    calls = (first for begin, stop, _ in parts for first, _ in chunks(begin, stop, program.feed.size, intervals))
    whole = max(itertools.takewhile(lambda first: first < step, calls))
    state = go(beginning.state, beginning.step, whole, hooks)
    before = go(jax.tree.map(jnp.copy, state), whole, step - 1, ())
    go(state, whole, max(step, end), hooks)
    log.flush()
    return before, rows


def _logged(folder: RunFolder, after: int) -> dict[int, Mapping[str, Any]]:
    """The rows of training in the log, above a step."""
    rows = read_rows(folder.metrics) if folder.metrics.exists() else []
    return {row["step"]: row for row in rows if row.get("kind") == "train" and row["step"] > after}


def _differences(
    logged: Mapping[int, Mapping[str, Any]], again: Mapping[int, Mapping[str, Any]]
) -> Iterator[tuple[int, str, Any, Any]]:
    for step, row in again.items():
        for name, value in row.items():
            was = logged[step][name] if name in logged[step] else None
            if not name.startswith("time/") and repr(was) != repr(value):
                yield step, name, was, value


def _notes(experiment: Experiment, folder: RunFolder) -> Iterator[str]:
    if experiment.mapping == "pmap":
        yield "Under pmap each device draws dropout and augmentations by itself, but op by op they are drawn for all."
    then, now = folder.devices(), [str(device) for device in jax.devices()]
    if then != now:
        yield f"The run was on {len(then)} devices ({then[0]} ...), this is on {len(now)} ({now[0]} ...)."
