"""jaxdl config."""

import argparse

from jaxdl.cli.flags import add_config

TAKES_OVERRIDES = True


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print canonical JSON, as a run folder keeps it")


def run(options: argparse.Namespace) -> int:
    """Prints the resolved config."""
    from jaxdl import config as configs
    from jaxdl.cli.train import resolve
    from jaxdl.train import Experiment

    config, _ = resolve(options, Experiment)
    print(configs.to_json(config) if options.json else configs.show(config))
    return 0
