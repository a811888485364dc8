"""The parameters of a run folder, and the config of its model."""

from pathlib import Path

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.checkpoint import read_weights
from jaxdl.interop.files import Source, collections, plain


def read_run(path: Path) -> Source:
    """The parameters and model state of a run, averaged where training averaged.

    The step is the best one where the run kept a best, otherwise the last.

    Raises:
      CheckpointError: it is no run folder, or has no sound checkpoint.
    """
    weights = read_weights(path)
    kept = {"params": weights.params} | ({"model_state": weights.model_state} if weights.model_state else {})
    leaves = trees.flatten(kept)
    config = path / "config.json"
    return Source(
        path=path,
        tensors={plain(name): leaf for name, leaf in leaves.items()},
        ours=True,
        collections=collections(leaves),
        model=model_of(config.read_text()) if config.is_file() else None,
        step=weights.step,
    )


def model_of(config_text: str) -> str | None:
    """The config of the model alone, as JSON, out of that of an experiment."""
    config = configs.from_json(config_text)
    return configs.to_json(config["model"]) if "model" in config and config["model"] is not None else None
