"""Export: a trained model as one file."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxdl import config as configs
from jaxdl.errors import WorkdirError
from jaxdl.inference.loaded import Loaded, flatten

_KEPT = ("model", "task", "learner", "precision", "evals")


def export(loaded: Loaded, path: str | Path) -> None:
    """Writes the parameters with all that prediction needs into one `.safetensors` file.

    The tensors keep their names (`params/stem/kernel`); the config, labels and example shape are in the header's
    metadata, so that any safetensors reader opens the file. `load` reads it back.

    Raises:
      WorkdirError: the file cannot be written.
    """
    kept = loaded.config.copy_and_resolve_references()
    with kept.unlocked():
        for name in set(kept) - set(_KEPT) - {"call"}:
            del kept[name]
    metadata = {"config": configs.to_json(kept), "facts": json.dumps(dict(loaded.facts)), "step": str(loaded.step)}
    tensors = flatten({"params": loaded.state.params, "model_state": loaded.state.model_state})
    try:
        save_file(tensors, str(path), metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise WorkdirError(f"{path} cannot be written: {error}.") from error
