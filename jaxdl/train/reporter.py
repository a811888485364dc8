"""All that a run tells: progress to a person, rows to the metrics log and TensorBoard, a summary at the end."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import jax

from jaxdl.train.experiment import Experiment
from jaxdl.train.folder import RunFolder
from jaxdl.train.hardware import peak_flops
from jaxdl.train.loop import Moment
from jaxdl.train.progress import Progress, Speed, format_number
from jaxdl.train.rollback import RollBack
from jaxdl.train.writers import JsonlWriter, TensorBoardWriter, plain

_SHOWN = ("loss", "accuracy")


class Reporter:
    """Writes and shows what happens; only the first process does.

    Args:
      experiment: What is trained.
      folder: Where to; None to write nothing.
      quiet: Whether to keep from printing progress.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder | None, *, quiet: bool = False) -> None:
        first = jax.process_index() == 0
        self._experiment, self._folder = experiment, folder if first else None
        self._loud = first and not quiet
        self._resources = contextlib.ExitStack()
        self._jsonl: JsonlWriter | None = None
        self._events: TensorBoardWriter | None = None
        self._progress: Progress | None = None
        self._values: dict[str, float] = {}
        self._speed = Speed()
        self._peak: float | None = None
        self._flops: float | None = None
        self._began = time.perf_counter()
        self._compiled = False

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def begin(self, start: int, *, unfinished: bool = False) -> None:
        """Opens the logs at a step, anew where they are open; rows beyond it, of a run that was killed, are dropped.

        Those of evaluations at an `unfinished` moment too, as they are made again.
        """
        self._resources.close()
        if self._loud:
            self._progress = Progress(self._experiment.total_steps, start=start)
            self._resources.callback(self._progress.close)
        if self._folder is not None:
            self._jsonl = self._resources.enter_context(JsonlWriter(self._folder.metrics))
            self._jsonl.truncate_after(start, last="train" if unfinished else None)
            if self._experiment.tensorboard:
                events = TensorBoardWriter(self._folder.path / "tensorboard", purge_step=start + 1)
                self._events = self._resources.enter_context(events)

    def compiled(self, seconds: float, flops: Callable[[], float | None]) -> None:
        """Notes how long compilation took; `flops()` of one step give the model FLOP/s utilisation."""
        if self._compiled:  # Training goes on from an earlier state.
            return
        self._compiled = True
        devices = jax.devices()
        peak = peak_flops(devices[0].device_kind, self._experiment.precision.compute)
        self._peak = None if peak is None else peak * len(devices)
        self._flops = None if peak is None else flops()
        self.note(f"Compiled the step in {seconds:.1f} s, {time.perf_counter() - self._began:.1f} s after the start.")

    def rolled_back(self, rollbacks: Sequence[RollBack]) -> None:
        """Says so, and keeps a record of all returns to earlier states."""
        newest = rollbacks[-1]
        self.warn(
            f"{newest.reason} Back to step {newest.step:,}, and on from there with the data after step {newest.last:,}."
        )
        if self._folder is not None:
            record = [back.json() for back in rollbacks]
            self._folder.write({"rollbacks.json": json.dumps(record, indent=1) + "\n"})

    def train_row(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a row of the training log."""
        values = {"epoch": step / self._experiment.steps_per_epoch, **values}
        self._values |= {f"{name}": values[name] for name in _SHOWN if name in values}
        rate = values["time/steps_per_second"] if "time/steps_per_second" in values else None
        if rate is not None:
            values["time/examples_per_second"] = rate * self._experiment.train.batch_size
            mfu = rate * self._flops / self._peak if self._flops and self._peak else None
            values |= {} if mfu is None else {"time/mfu": mfu}
            self._speed = Speed(steps_per_second=rate, examples_per_second=values["time/examples_per_second"], mfu=mfu)
        self._row(step, "train", values)

    def eval_row(self, step: int, name: str, values: Mapping[str, float]) -> None:
        """Writes a row for an evaluation."""
        self._row(step, name, values)
        shown = "  ".join(f"{metric} {format_number(value)}" for metric, value in values.items())
        self.note(f"step {step:,}  {name}: {shown}")

    def sync(self) -> None:
        """Flushes the log to the disk: a checkpoint is saved, and what lies before it is never written again."""
        if self._jsonl is not None:
            self._jsonl.sync()

    def moment(self, moment: Moment) -> None:
        """Shows progress."""
        if self._progress is not None and self._values:
            self._progress.update(moment.step, self._values, self._speed)

    def end(self, step: int, results: Mapping[str, float], stopped: str | None) -> None:
        """Writes the summary."""
        if stopped is not None:
            self.note(f"Stopped: {stopped}.")
        if self._folder is not None:
            summary: dict[str, Any] = {
                "step": step,
                "stopped": stopped,
                "results": {name: plain(x) for name, x in results.items()},
            }
            self._folder.write({"summary.json": json.dumps(summary, indent=1, allow_nan=False)})

    def note(self, text: str) -> None:
        """Says something to a person."""
        if self._progress is not None:
            self._progress.note(text)
        elif self._loud:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Says something that should not be overlooked."""
        self.note(f"Warning: {text}")

    def _row(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        if self._jsonl is not None:
            self._jsonl.write(step, kind, values)
        if self._events is not None:
            self._events.write(step, kind, values)
