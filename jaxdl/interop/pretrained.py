"""Whole models, for those who use the library: load one from wherever it comes, save one as a file."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop import files
from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import NONE, to_ours
from jaxdl.interop.example import example_inputs, initialised, variables_of
from jaxdl.interop.families import family
from jaxdl.interop.layout import Layout
from jaxdl.interop.report import Line, Report
from jaxdl.interop.transfer import merged, reading
from jaxdl.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A model with its weights.

    Attributes:
      model: The module.
      variables: `{"params": ..., ...}`, of JAX arrays.
      report: What became of each tensor of the file.
      config: The `config.json` of the Hugging Face folder that it came from, if it did.
    """

    model: Any
    variables: PyTree
    report: Report
    config: Mapping[str, Any] | None


def load(path: str | Path, *, allow: Sequence[str] = ()) -> tuple[Any, PyTree]:
    """The model at a path, and its variables: `model.apply(variables, tokens=..., train=False)`.

    Reads a folder of Hugging Face (its config.json says the model), a file made by `save` or `jaxdl convert`, an
    exported file or a run folder. Files are mapped and read tensor by tensor: loading takes the memory of the
    variables (4 bytes a parameter: 440 MB for BERT base), and on the CPU up to as much again for what was mapped, which
    the system takes back when it needs to.

    Args:
      path: Where it is.
      allow: Packages beside jaxdl, jax.nn, flax.linen and optax that a saved model may be built from.

    Raises:
      CheckpointError: it cannot be read, or its tensors are not those of the model.
      ConfigError: the model has an option that is not implemented here, or names something that is not allowed.
    """
    found = pretrained(path, allow=allow)
    return found.model, found.variables


def pretrained(
    path: str | Path,
    *,
    model: Any = None,
    layout: str | Callable[[], Layout] | None = None,
    inputs: Mapping[str, Any] | None = None,
    choices: Choices = NONE,
    entry: str | None = None,
    key: jax.Array | None = None,
    allow: Sequence[str] = (),
    strict: bool = True,
) -> Pretrained:
    """As `load`, for a model that the path alone does not say.

    Args:
      path: Where the weights are.
      model: The module; by default what the path says.
      layout: The name of a family or a function that returns a layout; by default what the path says.
      inputs: An example of each argument of the module, arrays or shapes, to trace its parameters with; by default
        from the names of the arguments. What jaxdl wrote needs none.
      choices: What may differ between the file and the module.
      entry: The key of the tensors in a PyTorch checkpoint that holds more.
      key: For what the file lacks and may lack, such as a new head; by default `jax.random.key(0)`.
      allow: Packages that a saved model may be built from.
      strict: Whether to refuse what is unexplained.
    """
    source = files.read(path, entry=entry)
    if source.ours and model is None and layout is None and inputs is None and choices == NONE:
        return as_written(source, _model(source, allow))
    model = _model(source, allow) if model is None else model
    inputs = example_inputs(model, source.config) if inputs is None else inputs
    found_layout, tensors = reading(source, layout=layout, model=model)
    template = variables_of(model, inputs)
    read, report = to_ours(tensors, template, found_layout, choices=choices, strict=strict, source=str(path))
    found = {name: leaf for name, leaf in trees.flatten(read).items() if not isinstance(leaf, jax.ShapeDtypeStruct)}
    del read
    shapes = {name: leaf.shape for name, leaf in trees.flatten(template).items()}
    if {name: leaf.shape for name, leaf in found.items()} == shapes:  # Each is freed as soon as it is on the device.
        variables: PyTree = trees.nest({name: jnp.asarray(found.pop(name)) for name in shapes})
    else:
        variables = merged(initialised(model, inputs, jax.random.key(0) if key is None else key), found)
    return Pretrained(model=model, variables=variables, report=report, config=source.config)


def as_written(source: files.Source, model: Any) -> Pretrained:
    """What jaxdl wrote, which needs no tracing: the names of its tensors are those of the variables."""
    whole = {
        name if name.split("/")[0] in source.collections - {"params"} else f"params/{name}": jnp.asarray(tensor)
        for name, tensor in source.tensors.items()
    }
    lines = [Line(word="copied", ours=(files.plain(name),), shapes=(x.shape,)) for name, x in whole.items()]
    report = Report(lines=tuple(lines))
    return Pretrained(model=model, variables=trees.nest(whole), report=report, config=source.config)


def save(path: str | Path, model: Any, variables: PyTree, *, config: Mapping[str, Any] | None = None) -> int:
    """Writes a model and its variables into one `.safetensors` file that `load` reads; returns its size in bytes.

    Tensors have their names (`params/head/kernel`) and types; the module is kept as a config in the header.

    Args:
      path: Ends in `.safetensors`.
      model: A module; what it is made of must have names at module level.
      variables: `{"params": ..., ...}`.
      config: The Hugging Face config to give back when the model is converted back.

    Raises:
      ConfigError: the path has another ending, or the module cannot be written down.
      WorkdirError: the file cannot be written.
    """
    if Path(path).suffix != ".safetensors":
        raise ConfigError(f"{path} must end in .safetensors.")
    metadata = {"model": configs.to_json(written(model))}
    if config is not None:
        metadata["huggingface"] = json.dumps(dict(config))
    tensors = {name: np.asarray(leaf) for name, leaf in trees.flatten(variables).items()}
    return files.write(path, tensors, metadata=metadata)


def written(module: Any) -> Any:
    """The spec of a Linen module, of those inside it too."""
    values = {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name")
    }
    inside = {name: written(value) if _is_module(value) else value for name, value in values.items()}
    return configs.spec(type(module), **inside)


def _is_module(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and hasattr(value, "apply") and not isinstance(value, type)


def _model(source: files.Source, allow: Sequence[str]) -> Any:
    if source.model is not None:
        return configs.build(configs.from_json(source.model), allow=tuple(allow))
    if source.config is not None and "model_type" in source.config:
        return family(source.config["model_type"]).model_from(source.config)
    raise CheckpointError(
        f"{source.path} holds weights but not what model they are of: no config.json of Hugging Face lies beside it. "
        "Pass the model and a layout."
    )
