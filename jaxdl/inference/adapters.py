"""Trained adapters: merging them into the model that they adapt."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxdl import config as configs
from jaxdl.errors import ConfigError
from jaxdl.inference.loaded import Loaded, build_learner
from jaxdl.models.lora import LoRA, merge


def merge_lora(loaded: Loaded, *, allow: Sequence[str] = ()) -> Loaded:
    """The model inside a trained `LoRA`, with its adapters merged into the kernels: the same predictions, no adapters.

    Args:
      loaded: A model of the config `spec(LoRA, model=spec(...), ...)`.
      allow: Packages that the saved config may name, as for `load`.

    Raises:
      ConfigError: the model is no `LoRA`.
    """
    model = configs.build(loaded.config["model"], allow=tuple(allow)) if "model" in loaded.config else None
    if not isinstance(model, LoRA):
        raise ConfigError(f"There is no LoRA to merge: the model is {type(model).__name__}.")
    config = loaded.config.copy_and_resolve_references()
    with config.unlocked():
        config["model"] = config["model"]["model"]
        if "frozen" in config:
            config["frozen"] = ()  # Its names are those of the LoRA.
    learner, _ = build_learner(config, allow)
    state = loaded.state.replace(
        params=merge(model, loaded.state.params),
        model_state={name: _base(collection) for name, collection in loaded.state.model_state.items()},
    )
    return dataclasses.replace(loaded, learner=learner, state=state, config=config)


def _base(collection: Any) -> Any:
    return collection["base"] if "base" in collection else collection
