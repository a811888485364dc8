"""jaxdl config."""

import argparse

TAKES_OVERRIDES = True


def run(options: argparse.Namespace) -> int:
    """Prints the resolved config."""
    from jaxdl import config as configs

    config = configs.override(configs.load(options.config), options.overrides)
    configs.check(config)
    print(configs.to_json(config) if options.json else configs.show(config))
    return 0
