"""jaxdl config."""

import argparse

TAKES_OVERRIDES = True


def run(options: argparse.Namespace) -> int:
    """Prints the resolved config."""
    from jaxdl import config as configs
    from jaxdl.cli.train import resolve
    from jaxdl.train import Experiment

    config, _ = resolve(options, Experiment)
    print(configs.to_json(config) if options.json else configs.show(config))
    return 0
