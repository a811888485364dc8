"""The flags that several verbs take."""

import argparse


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name a config."""
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG]", help="a Python file with get_config(), or a saved config.json"
    )
    add_code(parser)
    parser.epilog = "any value of the config is a flag: --config.optimizer.learning_rate=3e-4"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name a trained model."""
    parser.add_argument(
        "--workdir", "--model", dest="workdir", required=True, metavar="RUN", help="a run folder or an exported file"
    )
    parser.add_argument("--step", metavar="STEP", help="best, last or a number (default: best where one was kept)")
    add_code(parser)


def add_code(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what code a saved config may run."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE", help="a package that a saved config may name"
    )
    parser.add_argument(
        "--code", metavar="FILE", help="the config file that defines what the saved config names; it is run"
    )


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """Reads a whole number of at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)
