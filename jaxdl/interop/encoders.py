"""An encoder that was trained before, to put under another head: its config and its weights."""

from pathlib import Path
from typing import Any

from jaxdl import config as configs
from jaxdl.errors import ConfigError
from jaxdl.interop import files
from jaxdl.interop.families import family
from jaxdl.interop.pretrained import written
from jaxdl.interop.transfer import InitFrom


def encoder_from(path: str | Path, *, pooler: bool = False) -> tuple[Any, Any]:
    """The specs of an encoder and of the `InitFrom` that fills it, for a config that puts it under `encoder`.

    Args:
      path: A folder of Hugging Face with a BERT or RoBERTa, or a run folder or exported file of ours whose model has
        an `encoder`, such as a `MaskedLanguageModel`.
      pooler: Whether to keep the encoder's own summary of a text, where it has one.

    Returns:
      `(encoder, init_from)`. Its head, and whatever head the weights had, are left as initialised.

    Raises:
      CheckpointError: there are no weights.
      ConfigError: they are of no such model.
    """
    source = files.read(path)
    if source.model is not None:
        model = configs.from_json(source.model)
        if "encoder" not in model:
            raise ConfigError(f"The model of {path} is {model['call']}, which has no `encoder`.")
        encoder = model["encoder"]
        heads = r"(?!encoder/).*" if pooler or not encoder["pooler"] else r"(?!encoder/(?!pooler/)).*"
        init = configs.spec(InitFrom, path=str(path), skip=(heads,))
        return _with_pooler(encoder, pooler and encoder["pooler"]), init
    if source.config is None or "model_type" not in source.config:
        raise ConfigError(f"{path} does not say what model it is of: it is neither ours nor a folder of Hugging Face.")
    model = family(source.config["model_type"]).model_from(source.config)
    encoder = written(model.encoder if hasattr(model, "encoder") else model)
    if "pooler" not in encoder:
        raise ConfigError(f"{path} holds a {type(model).__name__}, not an encoder of texts such as BERT.")
    has_pooler = any("pooler." in name for name in source.tensors)
    skip = (r"(.*\.)?pooler\..*",) if has_pooler and not pooler else ()
    init = configs.spec(InitFrom, path=str(path), into="encoder", skip=skip)
    return _with_pooler(encoder, pooler and has_pooler), init


def _with_pooler(encoder: Any, pooler: bool) -> Any:
    return configs.override(encoder, [f"pooler={'true' if pooler else 'false'}"])
