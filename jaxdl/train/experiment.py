"""An experiment: everything that a run depends on, as one frozen value."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax

from jaxdl.data import Pipeline
from jaxdl.data.text import Tokenizer
from jaxdl.interop.transfer import InitFrom
from jaxdl.learners import (
    Augmentation,
    Learner,
    Precision,
    Spikes,
    TrainState,
    augmented,
    averaged,
    guarded,
    supervised,
)
from jaxdl.metrics import Mean
from jaxdl.nn import check_rates
from jaxdl.train.hooks import EarlyStopping, Plateau
from jaxdl.train.loop import Hook
from jaxdl.train.report import Report
from jaxdl.types import Batch, Metrics

Mode = Literal["max", "min"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Data to evaluate on, and when.

    Attributes:
      data: Read once, in order, at each evaluation; the last batch is padded and masked.
      every: Steps between evaluations.
      every_epochs: Epochs of the training data between evaluations, instead of `every`.
      at_end: Whether to evaluate after the last step too.
      report: Gives results of all predictions together, for what does not add over batches: it is called with pairs
        of `task.decode(learner.predict(...))` and the batch, as numpy arrays without rows of padding.
    """

    data: Pipeline
    every: int | None = None
    every_epochs: float | None = None
    at_end: bool = True
    report: Report | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every_epochs is not None:
            raise ValueError("Give `every` (steps) or `every_epochs`, not both.")
        if (self.every is not None and self.every < 1) or (self.every_epochs is not None and self.every_epochs <= 0):
            raise ValueError("`every` and `every_epochs` must be positive.")

    def interval(self, steps_per_epoch: float) -> int | None:
        """Steps between evaluations, if there are any but at the end."""
        if self.every_epochs is not None:
            return max(1, round(self.every_epochs * steps_per_epoch))
        return self.every


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
    """When to save checkpoints and which to keep.

    Attributes:
      every: Steps between checkpoints; the last step is always saved.
      keep: The number of newest checkpoints to keep.
      best: The result to keep the best checkpoints by, such as `"test/accuracy"`; each evaluation that gives it
        is then saved. `predict` and `evaluate` use the best by default.
      mode: Whether the best is the largest or the smallest; must be said where there is a `best`.
      keep_best: The number of best checkpoints to keep.
    """

    every: int = 1000
    keep: int = 2
    best: str | None = None
    mode: Mode | None = None
    keep_best: int = 1

    def __post_init__(self) -> None:
        if min(self.every, self.keep, self.keep_best) < 1:
            raise ValueError("`every`, `keep` and `keep_best` must be at least 1.")
        if self.best is not None and self.mode not in ("max", "min"):
            raise ValueError(f"Say what the best {self.best!r} is: mode='max' or mode='min', not {self.mode!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What to train, on what, how, and what to watch.

    Attributes:
      train: The training data. With `on_bad="skip"` the log counts what is left out, as `bad_examples`.
      model: A Linen module with `__call__(**inputs, train: bool)`.
      task: What the model's outputs mean: a `jaxdl.learners.Task`.
      optimizer: An Optax transformation.
      learner: A whole algorithm, instead of `model` and `optimizer` under `supervised`; `task` may say how to check
        examples and decode predictions.
      wrappers: Functions from learner to learner, applied last.
      steps: How long to train; or
      epochs: how long to train, in passes over the training data.
      evals: Evaluations by name; `test` gives results such as `test/accuracy`.
      init_from: Weights that a new run starts from; a run that is resumed does not look at it.
      seed: Of initialisation, data order and everything random; it takes the place of the pipelines' own seeds.
      augment: A function of (key, batch) that runs on the device before each step.
      tokenizer: The `jaxdl.data.text.Tokenizer` of the data, kept with the model so that it reads and writes text.
      precision: The dtypes of parameters, computation and outputs.
      microbatches: The parts that a batch is split into to save memory. The gradient is the same but for what looks
        at a part as a whole or draws for it: batch normalisation and dropout.
      frozen: Regexes over the names of parameters that stay as they are.
      remat: What the backward pass computes again to save memory.
      ema_decay: Of an exponential moving average of the parameters to evaluate and predict with.
      nonfinite_limit: Steps in a row with a NaN or infinite loss or gradient after which training stops; each is
        left out and counted.
      spikes: What counts as a spike of the loss or gradient; a step with one is left out and counted in the same way.
      rollbacks: How often training may, instead of stopping, go back to the multiple of `saving.every` steps before the
        trouble began, and go on from there with the data after it. That takes a run folder.
      mesh: The size of each mesh axis; see `jaxdl.parallel.make_mesh`. -1 is what is left of the devices.
      rules: `((regex over parameter names, sharding), ...)`; see `jaxdl.parallel.abstract_state`.
      activations: `((regex over module names, sharding), ...)` of what modules give; see `jaxdl.parallel.shard`.
      mapping: How a step is spread over devices: `jit` over the mesh, or the older `pmap`.
      steps_per_dispatch: Steps taken by one call to the device; by default as many as keep a small model from
        waiting for Python, and 1 for anything large.
      resident: Whether the training data lives on the device; by default when it is in memory and small.
      log_every: Steps between rows of the metrics log; a row is the exact mean over its window.
      saving: When to save checkpoints.
      hooks: Called after each dispatch with a `Moment`: early stopping, reduce on plateau, your own.
      tensorboard: Whether to write TensorBoard event files too.
    """

    train: Pipeline
    model: Any = None
    task: Any = None
    optimizer: Any = None
    learner: Learner | None = None
    wrappers: Sequence[Any] = ()
    steps: int | None = None
    epochs: float | None = None
    evals: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)
    init_from: InitFrom | None = None
    seed: int = 0
    augment: Augmentation | None = None
    tokenizer: Tokenizer | None = None
    precision: Precision = Precision()
    microbatches: int = 1
    frozen: Sequence[str] = ()
    remat: Literal["none", "full", "dots"] = "none"
    ema_decay: float | None = None
    nonfinite_limit: int = 10
    spikes: Spikes | None = None
    rollbacks: int = 0
    mesh: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"data": -1, "fsdp": 1})
    rules: Sequence[tuple[str, Any]] | None = None
    activations: Sequence[tuple[str, Any]] | None = None
    mapping: Literal["jit", "pmap"] = "jit"
    steps_per_dispatch: int | None = None
    resident: bool | None = None
    log_every: int = 100
    saving: Saving = Saving()
    hooks: Sequence[Hook] = ()
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("Give the length of training as either `steps` or `epochs`.")
        if self.total_steps < 1:
            length = f"{self.epochs} epochs" if self.steps is None else f"{self.steps} steps"
            raise ValueError(f"Training must take at least one step, not {length}.")
        self._check_algorithm()
        if min(self.log_every, self.nonfinite_limit, self.microbatches) < 1:
            raise ValueError("`log_every`, `nonfinite_limit` and `microbatches` must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be from 0 to 2**32 - 1, not {self.seed}.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be between 0 and 1, or None, not {self.ema_decay}.")
        if any(size < 1 and size != -1 for size in self.mesh.values()):
            raise ValueError(f"Sizes of `mesh` must be positive, or -1 for what is left, not {dict(self.mesh)}.")
        if self.rollbacks < 0:
            raise ValueError(f"`rollbacks` must be at least 0, not {self.rollbacks}.")
        if self.train.batch_size % self.microbatches:
            raise ValueError(f"{self.microbatches} microbatches do not divide a batch of {self.train.batch_size}.")
        if self.steps_per_dispatch is not None and self.steps_per_dispatch < 1:
            raise ValueError(f"`steps_per_dispatch` must be at least 1, not {self.steps_per_dispatch}.")
        if self.train.batch_size > len(self.train.source):
            raise ValueError(
                f"A batch of {self.train.batch_size} is larger than the training data, {len(self.train.source)} "
                "examples: choose a smaller train.batch_size."
            )
        self._check_names()

    def _check_algorithm(self) -> None:
        """Refuses half an algorithm, and settings that a whole `learner` would not read."""
        if self.learner is None:
            if None in (self.model, self.task, self.optimizer):
                raise ValueError("Give either `model`, `task` and `optimizer`, or a whole `learner`.")
            check_rates(self.model, "model.")
            return
        of_supervised = ("model", "optimizer", "frozen", "microbatches", "precision", "remat")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        unread = [name for name in of_supervised if getattr(self, name) != defaults[name]]
        if unread:
            raise ValueError(f"A whole `learner` does not read {', '.join(unread)}: build them into the learner.")

    def _check_names(self) -> None:
        """Refuses evaluations that the logs cannot name, and results of evaluations that are not there."""
        for name in self.evals:
            if name == "train" or "/" in name or not name:
                raise ValueError(f"An evaluation cannot be called {name!r}: not 'train', and without '/'.")
        for what, metric in self.watched().items():
            if metric.split("/")[0] not in self.evals:
                raise ValueError(f"{what} is {metric!r}, but the evaluations are {sorted(self.evals)}.")

    def watched(self) -> dict[str, str]:
        """The results, such as `test/loss`, that something waits for, by what waits."""
        best = {} if self.saving.best is None else {"saving.best": self.saving.best}
        hooks = enumerate(self.hooks)
        return best | {
            f"hooks.{i}.metric": hook.metric for i, hook in hooks if isinstance(hook, EarlyStopping | Plateau)
        }

    @property
    def steps_per_epoch(self) -> float:
        """Steps in one pass over the training data; not a whole number where batches straddle epochs."""
        return len(self.train.source) / self.train.batch_size

    @property
    def total_steps(self) -> int:
        """How many steps training takes."""
        return self.steps if self.steps is not None else math.ceil((self.epochs or 0) * self.steps_per_epoch)

    def intervals(self) -> list[int]:
        """The numbers of steps whose multiples something happens at."""
        evals = (evaluation.interval(self.steps_per_epoch) for evaluation in self.evals.values())
        return [self.log_every, self.saving.every, *(interval for interval in evals if interval is not None)]


def assemble(experiment: Experiment, guard: Callable[..., Learner] = guarded) -> Learner:
    """The learner of an experiment with its wrappers, not yet compiled: batches in, updates out."""
    axis_name = "data" if experiment.mapping == "pmap" else None
    learner = experiment.learner or supervised(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        frozen=experiment.frozen,
        microbatches=experiment.microbatches,
        precision=experiment.precision,
        remat=experiment.remat,
        axis_name=axis_name,
    )
    if experiment.augment is not None:
        learner = augmented(learner, experiment.augment, axis_name=axis_name)
    learner = guard(learner, spikes=experiment.spikes, limit=experiment.nonfinite_limit)
    if experiment.ema_decay is not None:
        learner = averaged(learner, experiment.ema_decay)
    for wrap in experiment.wrappers:
        learner = wrap(learner)
    return _counting_bad(learner, axis_name) if experiment.train.on_bad == "skip" else learner


def _counting_bad(learner: Learner, axis_name: str | None) -> Learner:
    """Adds the metric `bad_examples`, the share of examples that were left out because they are bad."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = learner.step(state, batch)
        bad = Mean.of(batch["mask"] == 0)
        return state, {**metrics, "bad_examples": bad if axis_name is None else jax.lax.psum(bad, axis_name)}

    return learner._replace(step=step)
