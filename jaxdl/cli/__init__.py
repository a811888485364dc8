"""The command line: one thin verb per file, with its flags. Nothing heavy is imported before a verb runs."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

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
    "verify": "prove on your own config that spreading over devices, or kills and resuming, change no result",
    "replay": "take one step of a run again, and find the layer and the example that are not finite",
    "plan": "say what a step would need on devices that are not here: memory, communication, time",
    "launch": "train as several processes that work together",
    "config": "print a resolved config with the origin of every value",
    "list": "list models, tasks, data sources, optimizers, schedules, augmentations, transforms and hooks",
    "doctor": "check devices, versions, memory, caches and the distributed environment",
}
EXIT_CODES = """exit codes:
  0   done
  1   anything else, such as a process that did not arrive or was lost
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
    module = _module(options.verb)
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
        _module(verb).add_flags(verbs[verb])
    return parser, verbs


def _module(verb: str) -> ModuleType:
    file = {"list": "listing", "config": "show_config", "inspect": "show_model"}.get(verb, verb)
    return importlib.import_module(f"jaxdl.cli.{file}")
