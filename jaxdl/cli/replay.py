"""jaxdl replay."""

import argparse
import json
from pathlib import Path
from typing import Any

from jaxdl.cli.environment import allowed, use_compile_cache, use_cpu_devices
from jaxdl.cli.flags import add_code, natural, positive
from jaxdl.cli.saved import saved_config
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True
SHOWN = 10


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run folder, which is only read")
    parser.add_argument("--step", type=positive, required=True, metavar="N", help="which step, counted from 1")
    parser.add_argument(
        "--rollbacks", type=natural, metavar="N", help="as the run was after so many of its roll-backs (default: all)"
    )
    parser.add_argument("--cpu-devices", type=positive, metavar="N", help="pretend that the CPU is N devices")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_code(parser)


def run(options: argparse.Namespace) -> int:
    """Takes a step of a run again, and shows what went through each layer and where it stopped being finite."""
    use_cpu_devices(options.cpu_devices)
    use_compile_cache()
    from jaxdl.train.replay import replay

    experiment = read_experiment(Path(options.workdir), options.overrides, allowed(options))
    found = replay(experiment, options.workdir, options.step, rollbacks=options.rollbacks)
    print(json.dumps(_json(found), allow_nan=False) if options.json else _text(found))
    return 0


def read_experiment(workdir: Path, overrides: list[str], allow: tuple[str, ...]) -> Any:
    """The experiment of a run folder, with some values changed.

    Raises:
      ConfigError: it has no config, or one that is damaged or not of an experiment.
    """
    from jaxdl import config as configs
    from jaxdl.cli.train import build_experiment
    from jaxdl.train import Experiment

    saved = saved_config(workdir)
    if saved is None:
        raise ConfigError(f"{workdir} has no config.json: give the folder of a run that `jaxdl train` made.")
    config = configs.override(saved, overrides, allow=allow)
    configs.check(config, Experiment, allow=allow)
    return build_experiment(config, allow, workdir)


def _json(found: Any) -> dict[str, Any]:
    from jaxdl.train.writers import plain

    def event(one: Any) -> dict[str, Any]:
        numbers = {name: plain(value) for name, value in one.stats._asdict().items()}
        return {"name": one.name, "what": one.what, "class": one.kind, **numbers, "rows": one.rows}

    def example(row: int) -> dict[str, Any]:
        number, name, loss = found.examples[row]
        return {"row": row, "number": number, "name": name, "loss": plain(loss)}

    return {
        "step": found.step,
        "batch": found.batch,
        "from_checkpoint": found.start,
        "finite": found.first is None,
        "first": None if found.first is None else event(found.first),
        "examples": [example(row) for row in found.rows],
        "events": [event(one) for one in found.events],
        "log_rows": found.compared,
        "log_differs": [[step, name, plain(was), plain(now)] for step, name, was, now in found.differing],
        "notes": found.notes,
    }


def _text(found: Any) -> str:
    parts = [
        f"Step {found.step:,} trains on batch {found.batch:,}; it was reached from "
        + (f"the checkpoint of step {found.start:,}." if found.start else "the beginning."),
        *found.notes,
        _log(found),
        _layers(found.events),
        _parameters(found.events),
        _verdict(found),
    ]
    return "\n\n".join(parts)


def _log(found: Any) -> str:
    rows = ", ".join(f"{step:,}" for step in found.compared)
    if not found.compared:
        return "The log has no row to compare with."
    if not found.differing:
        return f"The same bits as in the log, in the rows of step {rows}."
    lines = [
        f"  step {step:,}  {name}: logged {was!r}, now {now!r}" for step, name, was, now in found.differing[:SHOWN]
    ]
    return "\n".join([f"Not the same bits as in the log, in the rows of step {rows}:", *lines])


def _layers(events: Any) -> str:
    from jaxdl.inspection import table

    rows = [
        (one.name or "(model)", one.kind, one.what, *_numbers(one))
        for one in events
        if one.what in ("output", "gradient")
    ]
    return table(("layer", "class", "of", *_HEADER), rows, right=_HEADER)


def _parameters(events: Any) -> str:
    from jaxdl.inspection import table

    rows = [
        (one.name, one.what.removeprefix("parameter ").replace("parameter", "value"), *_numbers(one))
        for one in events
        if one.what in ("parameter", "parameter gradient", "update")
    ]
    return table(("parameter", "of", *_HEADER), rows, right=_HEADER)


_HEADER = ("mean", "std", "largest", "not finite")


def _numbers(event: Any) -> tuple[str, ...]:
    stats = event.stats
    bad = f"{stats.nonfinite:,} of {stats.size:,}" if stats.nonfinite else "0"
    return (*(f"{value:.3g}" for value in (stats.mean, stats.std, stats.largest)), bad)


def _verdict(found: Any) -> str:
    if found.first is None:
        order = sorted(range(len(found.examples)), key=lambda row: -found.examples[row].loss)[:3]
        lines = [f"  {found.examples[row].name}: {found.examples[row].loss:.4g}" for row in order]
        return "\n".join(["Everything is finite. The largest losses of single examples:", *lines])
    first = found.first
    where = first.name or ("the model" if first.what in ("input", "output", "gradient") else "")
    of = {
        "input": f"what goes into {where}",
        "output": f"what comes out of {where} ({first.kind}), though what went in is finite",
        "gradient": f"the gradient over what comes out of {where} ({first.kind})",
        "loss": "the loss, though what comes out of the model is finite",
        "parameter": f"the parameter {where}, before the step",
        "parameter gradient": f"the gradient of the parameter {where}",
        "update": f"the update of the parameter {where}",
    }[first.what]
    lines = [f"The first that is not finite, in {first.stats.nonfinite:,} of {first.stats.size:,} numbers: {of}."]
    lines += [f"  {found.examples[row].name} (row {row})" for row in found.rows[:SHOWN]]
    more = len(found.rows) - SHOWN
    return "\n".join([*lines, *([f"  and {more} more of the batch"] if more > 0 else [])])
