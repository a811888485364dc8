"""The parameters of a run folder, and the config of its model."""

import json
from pathlib import Path
from typing import Any

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.checkpoint import BestOf, Checkpoints, restore_part
from jaxdl.errors import CheckpointError
from jaxdl.interop.files import Source, collections, plain

_NEEDED = r"(extras/average/)?(params|model_state)/.*"


def read_run(path: Path) -> Source:
    """The parameters and model state of a run, averaged where training averaged.

    The step is the best one where the run kept a best, otherwise the last.

    Raises:
      CheckpointError: it is no run folder, or has no sound checkpoint.
    """
    try:
        facts = json.loads((path / "run.json").read_text())
        metric, mode, is_averaged = facts["best"], facts["mode"], facts["averaged"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no run folder: {error!r}.") from error
    found = restore_part(path / "checkpoints", _NEEDED, step=_best_step(path, metric, mode))
    state = found.state["extras"]["average"] if is_averaged else found.state
    kept = {name: state[name] for name in ("params", "model_state") if name in state}
    leaves = trees.flatten(kept)
    config = path / "config.json"
    return Source(
        path=path,
        tensors={plain(name): leaf for name, leaf in leaves.items()},
        ours=True,
        collections=collections(leaves),
        model=model_of(config.read_text()) if config.is_file() else None,
        step=found.step,
    )


def model_of(config_text: str) -> str | None:
    """The config of the model alone, as JSON, out of that of an experiment."""
    config = configs.from_json(config_text)
    return configs.to_json(config["model"]) if "model" in config and config["model"] is not None else None


def _best_step(path: Path, metric: Any, mode: Any) -> int | None:
    if metric is None:
        return None
    with Checkpoints(path / "checkpoints", best=BestOf(metric=metric, mode=mode), read_only=True) as checkpoints:
        best = checkpoints.best_steps()
    return best[0] if best else None
