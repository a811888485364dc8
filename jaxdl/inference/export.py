"""Export: a trained model as one file."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.errors import WorkdirError
from jaxdl.inference.loaded import Loaded

_KEPT = ("model", "task", "learner", "precision", "evals")


def export(loaded: Loaded, path: str | Path) -> None:
    """Writes the parameters with all that prediction needs into one `.safetensors` file.

    The tensors keep their names (`params/stem/kernel`); the config, labels, example shape and tokenizer are in the
    header's metadata, so that any safetensors reader opens the file. `load` reads it back.

    Raises:
      WorkdirError: the file cannot be written.
    """
    kept = loaded.config.copy_and_resolve_references()
    with kept.unlocked():
        for name in set(kept) - set(_KEPT) - {"call"}:
            del kept[name]
    metadata = {"config": configs.to_json(kept), "facts": json.dumps(dict(loaded.facts)), "step": str(loaded.step)}
    if loaded.tokenizer is not None:
        metadata["tokenizer"] = loaded.tokenizer.json
    state = {"params": loaded.state.params, "model_state": loaded.state.model_state}
    # A transposed view would be written in the order of its memory, without a word.
    tensors = {name: np.asarray(leaf, order="C") for name, leaf in trees.flatten(state).items()}
    try:
        save_file(tensors, str(path), metadata=metadata)
        os.chmod(path, 0o666 & ~_umask())  # It is made for its owner alone.
    except (OSError, SafetensorError) as error:
        raise WorkdirError(f"{path} cannot be written: {error}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
