"""jaxdl verify parallel."""

import argparse
import os

from jaxdl.cli.environment import use_compile_cache, use_cpu_devices
from jaxdl.cli.flags import add_config, positive
from jaxdl.errors import JaxdlError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the proof."""
    add_config(parser)
    parser.add_argument("--devices", type=positive, default=8, metavar="N", help="virtual CPU devices (default 8)")
    parser.add_argument("--steps", type=positive, default=3, metavar="N", help="steps to compare (default 3)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, metavar="X", help="largest relative difference (default 1e-4)"
    )


def run(options: argparse.Namespace) -> int:
    """Proves that spreading an experiment over devices changes no number."""
    use_cpu_devices(options.devices)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA warns of reshardings that are slow on real devices.
    from jaxdl.cli.train import build_experiment, resolve
    from jaxdl.train import Experiment

    config, allow = resolve(options, Experiment)
    use_compile_cache()
    from jaxdl.train.verify import verify_parallel

    experiment = build_experiment(config, allow)
    print(f"{'':27} {'loss':>9} {'gradients':>9} {'parameters':>10}")
    apart, spread, skipped = [], 0, 0
    for found in verify_parallel(experiment, steps=options.steps):
        if found.skipped is not None:
            skipped += 1
            print(f"{found.name:27} not run: {found.skipped}", flush=True)
            continue
        spread += found.spread
        good = found.within(options.tolerance)
        apart += [] if good else [f"{found.name} ({found.worst})"]
        verdict = "" if good else f"  differs: {found.worst}"
        print(f"{found.name:27} {found.loss:9.1e} {found.gradients:9.1e} {found.params:10.1e}{verdict}", flush=True)
    if apart:
        raise JaxdlError(f"More than {options.tolerance:g} apart from one device: {', '.join(apart)}.")
    if options.devices > 1 and not spread:
        raise JaxdlError(f"Nothing was spread over the {options.devices} devices: see above why.")
    which, rest = ("All that ran", f" {skipped} of the ways were not run.") if skipped else ("All", "")
    print(f"{which} within {options.tolerance:g} of one device, over {options.steps} steps.{rest}")
    return 0
