"""The command line: one thin verb per file. Nothing heavy is imported before a verb runs."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from jaxdl import __version__
from jaxdl.errors import ConfigError, JaxdlError

VERBS = {
    "train": "train the experiment of a config, resuming where its run folder left off",
    "evaluate": "measure a trained model, with confidence intervals",
    "predict": "label image files, or classify or translate lines of text, as JSON lines",
    "generate": "continue prompts with a trained language model, as the text comes or as JSON lines",
    "export": "write a trained model into one file",
    "convert": "bring weights of other frameworks in, or ours out, with a report of every tensor",
    "inspect": "print the parameters of a model, their shapes and shardings, and the FLOPs of its layers",
    "verify": "train a few steps on one device and spread over many, and compare losses, gradients and parameters",
    "plan": "say what a step would need on devices that are not here: memory, communication, time",
    "launch": "train as several processes that work together",
    "config": "print a resolved config with the origin of every value",
    "list": "list models, tasks, data sources, optimizers, schedules, augmentations, transforms and hooks",
    "doctor": "check devices, versions, memory, caches and the distributed environment",
}
EXIT_CODES = """exit codes:
  0   done
  2   a wrong config, flag or argument
  65  bad data
  66  a missing, corrupt or unfitting checkpoint
  70  the loss stayed NaN or infinite
  74  a run folder that cannot be written or is in use
  75  interrupted and saved: run the same command again to go on
  130 interrupted with nothing to save"""
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser, verbs = _parser()
    try:
        words, overrides = split_overrides(arguments)
    except ConfigError as error:
        parser.error(str(error))
    options = parser.parse_args(words)
    if options.verb is None:
        parser.print_help()
        return 0
    module = importlib.import_module(f"jaxdl.cli.{_module(options.verb)}")
    if overrides and not hasattr(module, "TAKES_OVERRIDES"):
        verbs[options.verb].error(f"{options.verb} takes no --config.key=value flags")
    options.overrides = overrides
    try:
        return module.run(options) or 0
    except JaxdlError as error:
        sys.stdout.flush()
        print(f"jaxdl {options.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # Where training does not catch it: nothing has begun, or a second signal came.
        print(f"jaxdl {options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates `--config.key=value` (or `--config.key value`) from the other words.

    >>> split_overrides(["train", "--config.steps=5", "--workdir", "w"])
    (['train', '--workdir', 'w'], ['steps=5'])
    """
    words: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("--config."):
            words.append(word)
        elif "=" in word:
            overrides.append(word.removeprefix("--config."))
        else:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                raise ConfigError(f"{word} needs a value: {word}=VALUE.")
            overrides.append(f"{word.removeprefix('--config.')}={value}")
    return words, overrides


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="jaxdl",
        description="Train, evaluate and use deep-learning models from one config.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxdl {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB")
    verbs = {}
    for verb, summary in VERBS.items():
        verbs[verb] = commands.add_parser(
            verb,
            help=summary,
            description=summary.capitalize() + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add[verb](verbs[verb])
    return parser, verbs


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the run folder: made, or resumed from")
    parser.add_argument(
        "--allow-changes", action="store_true", help="resume although the config differs in what decides the result"
    )
    parser.add_argument("--force-lock", action="store_true", help="take a run folder over whose lock is not free")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument(
        "--cpu-devices", type=_positive, metavar="N", help="pretend that the CPU is N devices, to try out a mesh"
    )
    several = parser.add_argument_group("several processes")
    several.add_argument(
        "--distributed",
        action="store_true",
        help="join those of the TPU pod, SLURM, Open MPI or Kubernetes job",
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="or say where process 0 listens,")
    several.add_argument("--processes", type=_positive, metavar="N", help="how many processes there are,")
    several.add_argument("--process", type=_natural, metavar="I", help="and which this is, from 0")
    several.add_argument(
        "--join-seconds", type=_positive, default=300, metavar="S", help="how long to wait for the others (default 300)"
    )


def _add_launch(parser: argparse.ArgumentParser) -> None:
    places = parser.add_subparsers(dest="where", required=True, metavar="WHERE")
    local = places.add_parser("local", help="processes of this machine")
    local.add_argument("--processes", type=_positive, required=True, metavar="N", help="how many")
    local.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    local.add_argument("command", nargs=argparse.REMAINDER, metavar="train ...", help="what each of them runs")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--split", metavar="NAME", help="evaluate only this one of the config's evals")
    parser.add_argument(
        "--replicates", type=_natural, default=200, metavar="N", help="bootstrap replicates (default 200)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", metavar="FILE", help="image files, or folders of them; files of text lines, or - for input"
    )
    _add_model(parser)
    parser.add_argument("--context", metavar="FILE", help="a text to answer questions about, or - for input")
    parser.add_argument("--question", action="append", metavar="TEXT", help="a question about the context")
    parser.add_argument(
        "--top", type=_positive, default=3, metavar="K", help="classes to show for each image or text (default 3)"
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=32, metavar="B", help="images or lines a call (default 32)"
    )
    parser.add_argument(
        "--attention", metavar="FOLDER", help="draw what each token of a translation attends to (recurrent models)"
    )
    parser.add_argument(
        "--invert", action="store_true", help="swap dark and light first, as for dark ink and a model of light ink"
    )


def _add_generate(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what to continue; else each line of standard input"
    )
    parser.add_argument("--max-tokens", type=_positive, default=200, metavar="N", help="most tokens (default 200)")
    parser.add_argument("--min-tokens", type=_natural, default=0, metavar="N", help="tokens before the end token")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (default 1)")
    parser.add_argument("--top-k", type=_positive, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest that sum up to P")
    parser.add_argument("--min-p", type=float, metavar="P", help="draw from those at least P times the likeliest")
    parser.add_argument("--repetition-penalty", type=float, metavar="F", help="above 1 against repetition")
    parser.add_argument("--beams", type=_positive, metavar="W", help="search with W beams instead of drawing")
    parser.add_argument("--length-penalty", type=float, default=0.0, metavar="A", help="of beams (default 0)")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end the text before this")
    parser.add_argument("--seed", type=_natural, default=0, metavar="N", help="of the draws (default 0)")
    parser.add_argument("--batch-size", type=_positive, default=16, metavar="B", help="prompts a call (default 16)")
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json, instead of the model's own")
    parser.add_argument("--json", action="store_true", help="print JSON, as for several prompts")


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--merge-lora", action="store_true", help="write the model inside a LoRA, its adapters merged into its kernels"
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
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
    _add_code(parser)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--config", metavar="FILE[:ARG]", help="the model that this config would train, where it would"
    )
    subject.add_argument("--workdir", "--model", dest="workdir", metavar="RUN", help="or at what this run folder holds")
    parser.add_argument("--layers", action="store_true", help="layers with output shapes and FLOPs for one example")
    parser.add_argument("--depth", type=_positive, metavar="N", help="no deeper than N parts of a name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--step", metavar="STEP", help="of a run: best, last or a number")
    parser.add_argument("--cpu-devices", type=_positive, metavar="N", help="pretend that the CPU is N devices")
    _add_code(parser)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("parallel",), help="parallel: one device against every way to spread a step")
    _add_config(parser)
    parser.add_argument("--devices", type=_positive, default=8, metavar="N", help="virtual CPU devices (default 8)")
    parser.add_argument("--steps", type=_positive, default=3, metavar="N", help="steps to compare (default 3)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, metavar="X", help="largest relative difference (default 1e-4)"
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--devices", type=_positive, default=8, metavar="N", help="how many devices (default 8)")
    parser.add_argument("--chip", metavar="NAME", help="only this one, such as h100 or v5e")
    parser.add_argument("--parameters", action="store_true", help="print the sharding of every parameter too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_config_verb(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--json", action="store_true", help="print canonical JSON, as a run folder keeps it")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND", help="only one kind, such as models")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG]", help="a Python file with get_config(), or a saved config.json"
    )
    _add_code(parser)
    parser.epilog = "any value of the config is a flag: --config.optimizer.learning_rate=3e-4"


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", "--model", dest="workdir", required=True, metavar="RUN", help="a run folder or an exported file"
    )
    parser.add_argument("--step", metavar="STEP", help="best, last or a number (default: best where one was kept)")
    _add_code(parser)


def _add_code(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE", help="a package that a saved config may name"
    )
    parser.add_argument(
        "--code", metavar="FILE", help="the config file that defines what the saved config names; it is run"
    )


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def _module(verb: str) -> str:
    return {"list": "listing", "config": "show_config", "inspect": "show_model"}.get(verb, verb)


_add = {
    "train": _add_train,
    "evaluate": _add_evaluate,
    "predict": _add_predict,
    "generate": _add_generate,
    "export": _add_export,
    "convert": _add_convert,
    "inspect": _add_inspect,
    "verify": _add_verify,
    "plan": _add_plan,
    "launch": _add_launch,
    "config": _add_config_verb,
    "list": _add_list,
    "doctor": _add_doctor,
}
