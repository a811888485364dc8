"""One run: build, resume, train, evaluate, save, in one place and one order."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jaxdl.checkpoint import BestOf, Checkpoints, Restored
from jaxdl.errors import ConfigError, NonFiniteError, Preempted
from jaxdl.inspection import flops
from jaxdl.learners import TrainState
from jaxdl.train.experiment import Experiment, Mode, assemble
from jaxdl.train.folder import RunFolder, open_run
from jaxdl.train.hooks import EarlyStopping, Evaluate, Log, Save, StopNonFinite, StopOnSignal
from jaxdl.train.hooks.nonfinite import explain, failure, is_sound
from jaxdl.train.hooks.preemption import INTERRUPTED
from jaxdl.train.hooks.save import remembered
from jaxdl.train.left_out import left_out
from jaxdl.train.loop import Hook, Moment, fit, see, when_finished
from jaxdl.train.program import Program, compile_step, describe, idle, prepare
from jaxdl.train.reporter import Reporter
from jaxdl.train.resume import facts, first_moment
from jaxdl.train.rollback import RollBack, answer, recorded
from jaxdl.train.start import Start, begin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: The state to use: the last one, or the best one where `EarlyStopping` restores it.
      step: The step of that state.
      results: What every evaluation gives for that state, such as `{"test/accuracy": 0.98}`.
      stopped: Why training ended before its last step, where it did.
      program: The compiled functions, for more of the same.
    """

    state: TrainState
    step: int
    results: Mapping[str, float]
    stopped: str | None
    program: Program


def train(
    experiment: Experiment,
    workdir: str | Path | None = None,
    *,
    record: Mapping[str, str] = MappingProxyType({}),
    quiet: bool = False,
    force_lock: bool = False,
) -> Outcome:
    """Trains an experiment, going on from the newest sound checkpoint of `workdir` where there is one.

    Args:
      experiment: What to do.
      workdir: The run folder; without one, nothing is written and nothing can be resumed.
      record: Texts to keep in the run folder by file name, such as the config.
      quiet: Whether to keep from printing progress.
      force_lock: Whether to take over a run folder that seems to be in use.

    Raises:
      Preempted: SIGTERM or SIGINT came; the state is saved.
      NonFiniteError: the loss stayed NaN or infinite, and no roll-back is left.
      ConfigError: the experiment has `rollbacks`, but there is no `workdir` to go back in.
      CheckpointError: the checkpoints of `workdir` belong to another model, or none of them is sound; or `init_from`
        cannot be read or does not fit.
      WorkdirError: `workdir` cannot be written or is in use.
      DataError: the data is bad.
    """
    if experiment.rollbacks and workdir is None:
        raise ConfigError(f"rollbacks={experiment.rollbacks} needs a run folder: pass a workdir, or leave it at 0.")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_run(workdir, force=force_lock)) if workdir is not None else None
        reporter = stack.enter_context(Reporter(experiment, folder, quiet=quiet))
        program = prepare(experiment)
        reporter.note(describe(program))
        for line in (*left_out(experiment), *filter(None, (idle(program),))):
            reporter.warn(line)
        checkpoints = (
            stack.enter_context(_checkpoints(experiment, folder, force=force_lock)) if folder is not None else None
        )
        restored = checkpoints.restore(program.state) if checkpoints is not None else None
        beginning = begin(experiment, program) if restored is None else restored
        if folder is not None:  # Only now: a config that does not fit the checkpoints must not replace theirs.
            read = beginning.record if isinstance(beginning, Start) else {}
            text = {} if experiment.tokenizer is None else {"tokenizer.json": experiment.tokenizer.json}
            folder.write({**record, **read, **text, "run.json": json.dumps(_facts(experiment, program), indent=1)})
        return _run(experiment, program, checkpoints, beginning, reporter)


def _run(
    experiment: Experiment,
    program: Program,
    checkpoints: Checkpoints | None,
    beginning: Restored | Start,
    reporter: Reporter,
) -> Outcome:
    rollbacks = recorded(beginning.info) if isinstance(beginning, Restored) else ()
    fresh = remembered(_memories(experiment, reporter)) if experiment.rollbacks else {}
    with StopOnSignal() as signals:
        while True:
            program, moment = _attempt(experiment, program, checkpoints, beginning, rollbacks, signals, reporter)
            failed = failure(moment, experiment.nonfinite_limit)
            if failed is None or checkpoints is None or len(rollbacks) >= experiment.rollbacks:
                break
            rollbacks = (*rollbacks, answer(failed, experiment.saving.every, rollbacks))
            reporter.rolled_back(rollbacks)
            checkpoints.discard_after(rollbacks[-1].step)
            beginning = checkpoints.restore(program.state) or _afresh(experiment, program, fresh)
    if checkpoints is not None:
        checkpoints.wait()
    if failed is not None:
        raise NonFiniteError(
            explain(failed, None if checkpoints is None else checkpoints.directory.parent, len(rollbacks))
        )
    _raise_if_interrupted(moment, checkpoints)
    return _finish(experiment, program, moment, checkpoints, reporter)


def _attempt(
    experiment: Experiment,
    program: Program,
    checkpoints: Checkpoints | None,
    beginning: Restored | Start,
    rollbacks: Sequence[RollBack],
    signals: StopOnSignal,
    reporter: Reporter,
) -> tuple[Program, Moment]:
    """Trains from a beginning to the end, or to where something stops it."""
    last = experiment.total_steps
    memories = log, *_ = _memories(experiment, reporter)
    moment = first_moment(experiment, program, beginning, memories, reporter)
    reporter.begin(moment.step, unfinished=moment.unfinished)
    save = _save(experiment, checkpoints, memories, rollbacks, reporter)
    judge = Evaluate(program.evals, last, reporter.eval_row, log.flush, log.skip_time, signals.asked)
    nonfinite = StopNonFinite(experiment.nonfinite_limit)
    hooks = [log, judge, *map(when_finished, (*experiment.hooks, reporter.moment)), signals, *save, nonfinite]
    if moment.unfinished:
        reporter.note(f"A signal cut the evaluation of step {moment.step} short; it is made again.")
        moment = see(moment._replace(unfinished=False), hooks[1:])
    elif moment.step >= last or moment.stop is not None:
        reporter.note(f"Nothing is left to train: {moment.stop or f'step {moment.step} of {last} is reached'}.")
    if moment.step < last and moment.stop is None:
        program, moment = _fit(experiment, program, moment, rollbacks, hooks, reporter, signals.asked)
        log.flush()
    return program, moment


def _memories(experiment: Experiment, reporter: Reporter) -> tuple[Any, ...]:
    """A new log, and the experiment's hooks: what may remember something from step to step."""
    return Log(experiment.log_every, reporter.train_row, last=experiment.total_steps), *experiment.hooks


def _afresh(experiment: Experiment, program: Program, memory: Mapping[str, Any]) -> Restored:
    """The very beginning, as if it had been saved."""
    state = begin(experiment, program).state
    return Restored(step=0, state=state, info={"hooks": memory, "stopped": None}, metrics={})


def _fit(
    experiment: Experiment,
    program: Program,
    moment: Moment,
    rollbacks: Sequence[RollBack],
    hooks: Sequence[Any],
    reporter: Reporter,
    asked: Callable[[], bool],
) -> tuple[Program, Moment]:
    batches = program.feed.batches(moment.step, experiment.total_steps, experiment.intervals(), rollbacks)
    with contextlib.closing(batches):
        first = next(batches)
        program, seconds = compile_step(program, first[1])
        once = dataclasses.replace(experiment, remat="none", mapping="jit")
        reporter.compiled(seconds, lambda: flops(assemble(once).step, program.state, program.sample))
        if asked():  # While it was compiled.
            return program, moment._replace(stop=INTERRUPTED)
        hooks[0].start(moment.step)
        return program, fit(program.learner, _chain(first, batches), moment.state, hooks=hooks)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _save(
    experiment: Experiment,
    checkpoints: Checkpoints | None,
    memories: Sequence[Any],
    rollbacks: Sequence[RollBack],
    reporter: Reporter,
) -> tuple[Hook, ...]:
    if checkpoints is None:
        return ()
    log, *_ = memories

    def info(moment: Moment) -> Mapping[str, Any]:
        log.flush()
        reporter.sync()
        backs = [back.json() for back in rollbacks]
        return {"hooks": remembered(memories), "rollbacks": backs, **facts(moment)}

    sound = partial(is_sound, limit=experiment.nonfinite_limit)
    return (Save(checkpoints, experiment.saving.every, experiment.total_steps, _best(experiment), info, sound),)


def _stopping(experiment: Experiment) -> EarlyStopping | None:
    """The hook that wants the best state back at the end, where there is one."""
    return next((hook for hook in experiment.hooks if isinstance(hook, EarlyStopping) and hook.restore_best), None)


def _best(experiment: Experiment) -> str | None:
    """The result that decides which checkpoint is the best: the saving's own, or that of early stopping."""
    stopping = _stopping(experiment)
    return experiment.saving.best or (stopping.metric if stopping else None)


def _mode(experiment: Experiment) -> Mode | None:
    stopping = _stopping(experiment)
    return stopping.mode if stopping and experiment.saving.best is None else experiment.saving.mode


def _checkpoints(experiment: Experiment, folder: RunFolder, *, force: bool) -> Checkpoints:
    saving, best = experiment.saving, _best(experiment)
    mode = _mode(experiment)
    rank = None if best is None or mode is None else BestOf(metric=best, mode=mode, k=saving.keep_best)
    return Checkpoints(folder.checkpoints, keep=saving.keep, best=rank, force=force)


def _raise_if_interrupted(moment: Moment, checkpoints: Checkpoints | None) -> None:
    if moment.stop == INTERRUPTED:
        saved = ""
        if checkpoints is not None and checkpoints.newest() is not None:
            saved = f" and saved in {checkpoints.directory}; run the same command to go on"
        raise Preempted(f"Training was interrupted at step {moment.step}{saved}.")


def _finish(
    experiment: Experiment, program: Program, moment: Moment, checkpoints: Checkpoints | None, reporter: Reporter
) -> Outcome:
    """Goes back to the best state where early stopping wants it, and evaluates the state that the user gets."""
    step, state, results = moment.step, moment.state, dict(moment.results)
    if _stopping(experiment) and checkpoints is None:
        reporter.warn("Without a run folder there is no best state to restore; this is the last one.")
    ranked = checkpoints.best_steps() if _stopping(experiment) and checkpoints is not None else []
    if checkpoints is not None and ranked and ranked[0] != step:
        best = checkpoints.restore(program.state, step=ranked[0])
        if best is not None:
            step, state, results = best.step, best.state, {}
            reporter.note(f"Restored the best state, of step {step}.")
    for one in program.evals:
        if one.at_end and not any(name.startswith(f"{one.name}/") for name in results):
            values = one.results(state)
            results |= {f"{one.name}/{metric}": value for metric, value in values.items()}
    reporter.end(step, results, moment.stop)
    return Outcome(state=state, step=step, results=results, stopped=moment.stop, program=program)


def _facts(experiment: Experiment, program: Program) -> dict[str, Any]:
    """What prediction must know when the data is gone."""
    sample = {name: {"shape": list(x.shape[1:]), "dtype": str(np.dtype(x.dtype))} for name, x in program.sample.items()}
    labels = getattr(experiment.train.source, "labels", ())
    return {
        "format": 1,
        "labels": list(labels or ()),
        "example": sample,
        "averaged": experiment.ema_decay is not None,
        "best": _best(experiment),
        "mode": _mode(experiment),
        "devices": [str(device) for device in jax.devices()],
    }
