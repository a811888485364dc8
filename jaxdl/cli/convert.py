"""jaxdl convert."""

import argparse
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.cli.environment import allowed, import_from_here
from jaxdl.cli.flags import add_code
from jaxdl.errors import CheckpointError, ConfigError

TAKES_OVERRIDES = True


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    parser.add_argument("source", metavar="SOURCE", help="a folder of Hugging Face, a file of weights, or a run folder")
    parser.add_argument("output", nargs="?", metavar="OUTPUT", help="a .safetensors file; to huggingface: a folder")
    parser.add_argument("--to", choices=("jaxdl", "huggingface"), default="jaxdl", help="whose names to write")
    parser.add_argument("--dry-run", action="store_true", help="print the report and write nothing")
    parser.add_argument("--verbose", action="store_true", help="a line for every tensor, not for each group")
    parser.add_argument(
        "--layout", metavar="NAME", help="a family such as bert, or module:function (default: what the source says)"
    )
    parser.add_argument(
        "--config", default="", metavar="FILE[:ARG]", help="the model of this config (default: what the source says)"
    )
    parser.add_argument("--map", action="append", default=[], metavar="REGEX=TEXT", help="rename tensors of the source")
    parser.add_argument("--skip", action="append", default=[], metavar="REGEX", help="tensors to leave as initialised")
    parser.add_argument(
        "--resize",
        action="append",
        default=[],
        metavar="REGEX[=METHOD]",
        help="tensors of another size: grid, linear, rows",
    )
    parser.add_argument(
        "--entry", metavar="KEY", help="of a PyTorch checkpoint, which of its entries holds the tensors"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="write floating-point numbers so")
    parser.add_argument("--like", metavar="FOLDER", help="to huggingface: take the config.json of this folder")
    parser.add_argument("--prefix", metavar="TEXT", help="to huggingface: what names begin with, such as bert.")
    add_code(parser)


def run(options: argparse.Namespace) -> int:
    """Reads weights of another framework, or writes ours for it, and says what became of every tensor."""
    if options.to == "huggingface":
        return _to_huggingface(options)
    return _to_jaxdl(options)


def _to_jaxdl(options: argparse.Namespace) -> int:
    from jaxdl.interop import Choices
    from jaxdl.interop.pretrained import pretrained, save

    if not options.dry_run:
        _output(options, ".safetensors")
    if options.like is not None or options.prefix is not None:
        raise ConfigError("--like and --prefix are for --to huggingface.")
    model, inputs = _of_config(options) if options.config else (None, None)
    found = pretrained(
        options.source,
        model=model,
        inputs=inputs,
        layout=_layout(options.layout),
        choices=Choices(
            map=[_pair("--map", text) for text in options.map],
            skip=options.skip,
            resize=[_resize(text) for text in options.resize],
        ),
        entry=options.entry,
        allow=allowed(options),
        strict=False,
    )
    _show(options, found.report)
    if not options.dry_run:
        variables, output = _cast(found.variables, options.dtype), _output(options)
        print(f"{output}: {save(output, found.model, variables, config=found.config):,} bytes")
    return 0


def _to_huggingface(options: argparse.Namespace) -> int:
    from jaxdl.interop import files, to_theirs
    from jaxdl.interop.pretrained import pretrained

    unread = [name for name in ("config", "entry", "map", "skip", "resize") if getattr(options, name)]
    if unread:
        raise ConfigError(f"--to huggingface reads what jaxdl wrote: leave out --{unread[0]}.")
    found = pretrained(options.source, allow=allowed(options))
    config = found.config if options.like is None else _json(Path(options.like) / "config.json")
    layout = _layout_of(options, config, found.model)
    tensors, report = to_theirs(found.variables, layout, prefix=options.prefix, strict=False, source=options.source)
    _show(options, report, "Choose another layout, or add rules for these to it.")
    if options.dry_run:
        return 0
    output = _output(options)
    one_file = output.suffix == ".safetensors"
    target = output if one_file else output / files.WEIGHTS
    print(f"{target}: {files.write(target, _cast(tensors, options.dtype)):,} bytes")
    if config is not None and not one_file:
        (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    elif not one_file:
        print(f"{output} has no config.json: copy that of the model, or give a folder that has it by --like.")
    return 0


def _show(options: argparse.Namespace, report: Any, *advice: str) -> None:
    """Prints the report, and refuses what it does not explain."""
    print(report.table(verbose=options.verbose), flush=True)
    report.check(options.source, *advice)


def _output(options: argparse.Namespace, suffix: str | None = None) -> Path:
    if options.output is None:
        raise ConfigError("Say where to: jaxdl convert SOURCE OUTPUT; or only look, by --dry-run.")
    if suffix is not None and Path(options.output).suffix != suffix:
        raise ConfigError(f"The output must end in {suffix}, not {Path(options.output).name!r}.")
    return Path(options.output)


def _of_config(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The model of an experiment, and the shapes of what its task gives it."""
    import jax

    from jaxdl.cli.train import build_experiment, resolve
    from jaxdl.train import Experiment

    experiment = build_experiment(*resolve(options, Experiment))
    if experiment.model is None:
        raise ConfigError(f"{options.config} has a whole learner, and no model to convert for.")
    return experiment.model, jax.eval_shape(experiment.task.inputs, experiment.train[0])


def _layout_of(options: argparse.Namespace, config: Mapping[str, Any] | None, model: Any) -> Any:
    """The layout to write in: that of the flag, of the config, or of a family that makes such models."""
    from jaxdl.interop.families import family, family_of

    given = _layout(options.layout)
    if callable(given):
        return given()
    said = config["model_type"] if config is not None and "model_type" in config else None
    name = given or said or family_of(model)
    if name is None:
        raise ConfigError(f"No family makes a {type(model).__name__}: say by --layout which tensors are which.")
    return family(name).layout(model)


def _layout(text: str | None) -> Any:
    """The name of a family, or the function that `module:function` names."""
    if text is None or ":" not in text:
        return text
    import_from_here()
    module, _, name = text.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--layout {text}: {error}.") from error


def _pair(flag: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals:
        raise ConfigError(f"{flag} takes REGEX=TEXT, not {text!r}.")
    return left, right


def _resize(text: str) -> Any:
    return _pair("--resize", text) if "=" in text else text


def _cast(tree: Any, dtype: str | None) -> Any:
    """A tree with floating-point leaves of this type."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    if dtype is None:
        return tree
    return jax.tree.map(lambda x: np.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, and a config is an object.")
    return found
