"""The words that make up a command, checked before they are handed to somebody else's shell."""

import argparse
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from jaxdl.cli import train
from jaxdl.errors import ConfigError, JaxdlError

_MULTIPLE = ("distributed", "coordinator", "processes", "process")


def training_words(command: Sequence[str], overrides: Sequence[str], where: str) -> list[str]:
    """The words `train ...` that each process gets, overrides of the config included.

    Raises:
      ConfigError: they are no training, or say what the launcher says.
    """
    words = [word for word in command if word != "--"]
    if not words or words[0] != "train":
        raise ConfigError(f"Say what to launch: jaxdl launch {where} ... train --config FILE --workdir FOLDER")
    parser = argparse.ArgumentParser(prog=f"jaxdl launch {where} ... train")
    train.add_flags(parser)
    options = parser.parse_args(words[1:])
    if any(getattr(options, name) is not None and getattr(options, name) is not False for name in _MULTIPLE):
        raise ConfigError("Leave out --distributed, --coordinator, --processes and --process: the launcher adds them.")
    words += [f"--config.{override}" for override in overrides]
    for word in words:
        one_line("train ...", word)
    return words


def workdir_of(words: Sequence[str]) -> str:
    """The run folder among the words of a training."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir")
    return parser.parse_known_args(list(words))[0].workdir


def one_line(what: str, value: str) -> str:
    """The value, if it has no line breaks or other control characters.

    Raises:
      ConfigError: it has.
    """
    if not value.isprintable():
        raise ConfigError(f"{what}: {value!r} has control characters; a line of a script cannot hold them.")
    return value


def matching(what: str, pattern: str, allowed: str, value: str) -> str:
    """The value, if it matches a pattern as a whole.

    Raises:
      ConfigError: it does not; the message says what is `allowed`.
    """
    if not re.fullmatch(pattern, value):
        raise ConfigError(f"{what} {value!r} is not possible: {allowed}.")
    return value


def program(text: str | None, default: Sequence[str]) -> list[str]:
    """The words that call jaxdl."""
    words = list(default) if text is None else shlex.split(one_line("--program", text))
    if not words:
        raise ConfigError("--program is empty; it says how jaxdl is called there, such as 'venv/bin/jaxdl'.")
    return words


def submit(command: Sequence[str], text: str | None = None) -> int:
    """Runs the command of a cluster, with `text` on its standard input; returns its exit code.

    Raises:
      JaxdlError: this machine does not have the command.
    """
    if shutil.which(command[0]) is None:
        raise JaxdlError(
            f"There is no {command[0]} on this machine. Run this where it is, or see what would be run with --dry-run."
        )
    return subprocess.run(command, input=text, text=True, check=False).returncode
