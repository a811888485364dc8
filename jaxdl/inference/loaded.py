"""A trained model out of a run folder or an exported file, without the data, the optimizer or the trainer."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from safetensors import SafetensorError, safe_open

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.checkpoint import read_weights, run_facts
from jaxdl.data.text import Tokenizer, load_tokenizer
from jaxdl.errors import CheckpointError
from jaxdl.learners import Learner, Precision, TrainState, supervised
from jaxdl.types import PyTree

Choice = int | str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """A trained model.

    Attributes:
      learner: Its `predict` and `evaluate`, not compiled.
      state: The parameters, averaged where training averaged them, and the model state; no optimizer state.
      task: What the outputs mean.
      preprocess: The host transforms that an example goes through, once decoded.
      config: The resolved config of the training, or the part of it that prediction needs.
      facts: The labels and the shape of an example, as training recorded them.
      step: The training step of the parameters.
      tokenizer: The tokenizer that the model was trained with, where it reads or writes text.
    """

    learner: Learner
    state: TrainState
    task: Any
    preprocess: Sequence[Any]
    config: Any
    facts: Mapping[str, Any]
    step: int
    tokenizer: Tokenizer | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of their ids; empty where the data had none."""
        return tuple(self.facts["labels"])


def load(path: str | Path, *, step: Choice = None, allow: Sequence[str] = ()) -> Loaded:
    """Loads a run folder, or a file made by `export`.

    Args:
      path: The run folder, or the `.safetensors` file.
      step: `"best"`, `"last"` or a step of a run folder; by default the best where the run kept a best.
      allow: Packages beside jaxdl, jax.nn, flax.linen and optax that the saved config may name.

    Raises:
      CheckpointError: there is no such model, or it is corrupt.
      ConfigError: the saved config names something that is not allowed.
    """
    path = Path(path)
    config_text, facts, arrays, at, tokenizer = _read_folder(path, step) if path.is_dir() else _read_file(path)
    config = configs.from_json(config_text)
    learner, task = build_learner(config, allow)
    state = TrainState(
        step=jnp.asarray(at, jnp.int32),
        key=jax.random.key(0),
        params=jax.tree.map(jnp.asarray, arrays["params"]),
        model_state=jax.tree.map(jnp.asarray, arrays["model_state"]),
        opt_state=(),
    )
    preprocess = _preprocess(config, tuple(allow))
    return Loaded(
        learner=learner,
        state=state,
        task=task,
        preprocess=preprocess,
        config=config,
        facts=facts,
        step=at,
        tokenizer=tokenizer,
    )


def build_learner(config: Any, allow: Sequence[str]) -> tuple[Learner, Any]:
    """The learner and the task of a saved config; the learner evaluates and predicts only."""
    parts = {name: config[name] for name in ("model", "task", "learner", "precision") if name in config}
    built = {name: configs.build(part, allow=tuple(allow)) for name, part in parts.items()}
    whole = built["learner"] if "learner" in built else None
    if whole is not None:
        return whole, built["task"] if "task" in built else None
    if missing := [name for name in ("model", "task") if name not in built]:
        raise CheckpointError(f"The saved config has no {' and no '.join(missing)}, so there is nothing to load.")
    precision = built["precision"] if "precision" in built else Precision()
    return supervised(built["model"], built["task"], optax.identity(), precision=precision), built["task"]


def _preprocess(config: Any, allow: tuple[str, ...]) -> Sequence[Any]:
    """The host transforms of the first evaluation, those of its source (`in_memory`) first, without the decoding."""
    evals = config["evals"] if "evals" in config else {}
    if isinstance(evals, bool | int | float | str | None):
        raise CheckpointError(f"The evals of the saved config are {evals!r}, not evaluations by name.")
    for name in evals:
        try:
            data = evals[name]["data"]
            specs = [part["transforms"] for part in (data["source"], data) if "transforms" in part]
            transforms = [transform for spec in specs for transform in configs.build(spec, allow=allow)]
        except (LookupError, TypeError) as error:
            raise CheckpointError(f"The saved config does not say what evals.{name} reads: {error!r}.") from error
        return tuple(transform for transform in transforms if type(transform).__name__ != "Decode")
    return ()


_Read = tuple[str, Mapping[str, Any], PyTree, int, Tokenizer | None]


def _read_folder(path: Path, step: Choice) -> _Read:
    weights = read_weights(path, step)
    try:
        config_text = (path / "config.json").read_text()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no run folder: {error}.") from error
    arrays = {"params": weights.params, "model_state": weights.model_state}
    written = path / "tokenizer.json"
    tokenizer = load_tokenizer(path=str(written)) if written.exists() else None
    return config_text, weights.facts, arrays, weights.step, tokenizer


def _read_file(path: Path) -> _Read:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config_text, facts, at = metadata["config"], run_facts(path, metadata["facts"]), int(metadata["step"])
        if not 0 <= at < 2**31:
            raise ValueError(f"step {at}")
        state = {"params": {}, "model_state": {}} | trees.nest(arrays)
    except (AttributeError, KeyError, OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is neither a run folder nor a model exported by jaxdl: {error!r}.") from error
    tokenizer = Tokenizer(metadata["tokenizer"]) if "tokenizer" in metadata else None
    return config_text, facts, state, at, tokenizer
