"""The first moment of training: of a new state, or of what a checkpoint holds."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jaxdl.checkpoint import Restored
from jaxdl.errors import CheckpointError
from jaxdl.train.experiment import Experiment, assemble
from jaxdl.train.hooks.preemption import INTERRUPTED
from jaxdl.train.hooks.save import recall
from jaxdl.train.loop import Hook, Moment
from jaxdl.train.plain import from_plain, to_plain
from jaxdl.train.program import Program
from jaxdl.train.reporter import Reporter
from jaxdl.train.start import Start
from jaxdl.types import Metrics


def first_moment(
    experiment: Experiment, program: Program, beginning: Restored | Start, memories: Sequence[Hook], reporter: Reporter
) -> Moment:
    """The moment to go on from; hooks get back what they remembered, and a person is told.

    Its `stop` is why training had ended there, where it had. Only an unfinished one has metrics.

    Raises:
      CheckpointError: what the checkpoint remembers beside its state is damaged.
    """
    if isinstance(beginning, Start):
        for note in beginning.notes:
            reporter.note(note)
        return Moment(step=0, state=beginning.state, metrics={})
    for skipped in beginning.skipped:
        reporter.warn(f"Checkpoint {skipped.step} is corrupt and was set aside as {skipped.moved_to}: {skipped.reason}")
    hooks, stopped = _part(beginning, "hooks"), _part(beginning, "stopped")
    if stopped is not None and not isinstance(stopped, str):
        raise _damaged(beginning, f"it stopped because of {str(stopped)[:60]!r}")
    recall(memories, hooks)
    if beginning.step:
        reporter.note(f"Resumed from step {beginning.step} (verified).")
    moment = Moment(step=beginning.step, state=beginning.state, metrics={}, stop=stopped)
    if not is_unfinished(beginning):
        return moment
    try:
        return moment._replace(metrics=_metrics(experiment, program, beginning.info["unfinished"]), unfinished=True)
    except ValueError as error:
        raise _damaged(beginning, f"of its unfinished metrics, {error}") from error


def _part(restored: Restored, name: str) -> Any:
    if name not in restored.info:
        raise _damaged(restored, f"it does not say {name!r}")
    return restored.info[name]


def _damaged(restored: Restored, what: str) -> CheckpointError:
    return CheckpointError(f"What the checkpoint of step {restored.step} says of its run is damaged: {what}.")


def is_unfinished(restored: Restored) -> bool:
    """Whether a checkpoint is of a moment whose evaluations were cut short."""
    return "unfinished" in restored.info and restored.info["unfinished"] is not None


def facts(moment: Moment) -> dict[str, Any]:
    """What to save of a moment beside its state, for `first_moment`."""
    return {
        "stopped": None if moment.stop == INTERRUPTED else moment.stop,
        "results": dict(moment.results),
        "unfinished": to_plain(moment.metrics) if moment.unfinished else None,
    }


def _metrics(experiment: Experiment, program: Program, saved: Any) -> Metrics:
    """The sums of the steps before; empty where the metrics are no longer the same."""
    learner = assemble(dataclasses.replace(experiment, remat="none", mapping="jit"))
    _, like = jax.eval_shape(learner.step, program.state, program.sample)
    return from_plain(saved, like) or {}
