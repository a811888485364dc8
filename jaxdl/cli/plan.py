"""jaxdl plan."""

import argparse
import dataclasses
import json
import os
from typing import Any

from jaxdl.cli.environment import use_cpu_devices
from jaxdl.cli.flags import add_config, positive
from jaxdl.cli.processes import join_nobody
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True
DEVICES_OF_A_PROCESS = 2048


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_config(parser)
    parser.add_argument("--devices", type=positive, default=8, metavar="N", help="how many devices (default 8)")
    parser.add_argument("--chip", metavar="NAME", help="only this one, such as h100 or v5e")
    parser.add_argument("--parameters", action="store_true", help="print the sharding of every parameter too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Says what a step would need on devices that are not here."""
    use_cpu_devices(options.devices, compiling_alone=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA warns of reshardings, which the table shows.
    if options.devices > DEVICES_OF_A_PROCESS:
        join_nobody()
    from jaxdl.cli.train import build_experiment, resolve
    from jaxdl.train import Experiment

    config, allow = resolve(options, Experiment)
    from jaxdl.inspection import parameter_table, parameters
    from jaxdl.train.chips import CHIPS
    from jaxdl.train.plan import plan

    if options.chip is not None and options.chip not in CHIPS:
        raise ConfigError(f"The chips are {', '.join(CHIPS)}, not {options.chip!r}.")
    experiment = build_experiment(config, allow)
    found = plan(experiment)
    chips = {name: chip for name, chip in CHIPS.items() if options.chip in (None, name)}
    if options.json:
        shown = {key: value for key, value in vars(found).items() if key != "state"}
        shown["collectives"] = [dataclasses.asdict(one) for one in found.collectives]
        shown["chips"] = {name: _on(found, chip) for name, chip in chips.items()}
        if options.parameters:
            rows = parameters(found.state.params, experiment.frozen)
            shown["each_parameter"] = [{**dataclasses.asdict(row), "count": row.count} for row in rows]
        print(json.dumps(shown))
        return 0
    print(_text(found, chips))
    if options.parameters:
        print("\n" + parameter_table(parameters(found.state.params, experiment.frozen)))
    return 0


def _on(found: Any, chip: Any) -> dict[str, Any]:
    seconds = {"compute": found.compute_seconds(chip), "links": found.link_seconds(chip)}
    return {
        "fits": found.fits(chip),
        "memory_used": found.memory / chip.memory,
        "seconds": seconds,
        "step_seconds": [max(seconds.values()), sum(seconds.values())],
    }


def _text(found: Any, chips: Any) -> str:
    from jaxdl.inspection import table

    axes = " x ".join(f"{name} {size}" for name, size in found.mesh.items() if size > 1) or "one"
    sizes = ("parameters", "optimizer", "gradients", "batch", "temporary", "memory")
    rows = [(name if name != "memory" else "together", _size(getattr(found, name))) for name in sizes]
    talk = [
        (one.kind, f"{one.count:,}", str(one.devices), _size(one.bytes), _size(one.sent)) for one in found.collectives
    ]
    parts = [
        f"{found.count:,} parameters, {found.flops:.3g} FLOPs in {found.dtype}; {found.devices} devices: {axes}",
        *(f"Nothing is split over {axis} ({found.mesh[axis]}): these devices do the same work." for axis in found.idle),
        table(("on each device", "size"), rows, right=("size",)),
        table(
            ("collective", "times", "among", "array", "sent by each"),
            talk,
            right=("times", "among", "array", "sent by each"),
        )
        if talk
        else "The devices send each other nothing.",
        table(
            ("chip", "memory", "compute, ms", "links, ms", "step at best, ms"),
            [_row(name, found, chip) for name, chip in chips.items()],
            right=("memory", "compute, ms", "links, ms", "step at best, ms"),
        ),
        "At best: the matrix units and the links at their peaks; from full overlap to none.",
    ]
    return "\n\n".join(parts)


def _row(name: str, found: Any, chip: Any) -> tuple[str, ...]:
    on = _on(found, chip)
    low, high = (1e3 * seconds for seconds in on["step_seconds"])
    compute, links = (f"{1e3 * seconds:.3g}" for seconds in on["seconds"].values())
    fits = f"{100 * on['memory_used']:.3g} %" if on["fits"] else f"too little: {_size(found.memory)}"
    return (name, fits, compute, links, f"{low:.3g} to {high:.3g}")


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:,.0f} {unit}"
        number /= 1024
    raise AssertionError
