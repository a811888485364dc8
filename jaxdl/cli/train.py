"""jaxdl train."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jaxdl.cli.environment import use_compile_cache, use_cpu_devices
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True
# What may change between the two halves of a run without changing what it computes up to the last step.
FREE = (
    "steps", "epochs", "evals", "hooks", "log_every", "mesh", "mapping", "nonfinite_limit", "remat", "resident",
    "rules", "saving", "steps_per_dispatch", "tensorboard", "train.threads", "train.processes",
)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Trains."""
    use_cpu_devices(options.cpu_devices)
    from jaxdl import config as configs

    config = configs.override(configs.load(options.config), options.overrides)
    configs.check(config)
    _check_same(config, Path(options.workdir), allowed=options.allow_changes)
    use_compile_cache()
    import jax

    from jaxdl.config.provenance import provenance
    from jaxdl.train import Experiment, train

    experiment = build(config, tuple(options.allow) if options.config.endswith(".json") else None)
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{options.config} describes a {type(experiment).__name__}, not a jaxdl.train.Experiment.")
    record = {
        "config.json": configs.to_json(config),
        "config.txt": configs.show(config) + "\n",
        "provenance.json": json.dumps(provenance([str(d) for d in jax.devices()]), indent=1),
    }
    outcome = train(experiment, options.workdir, record=record, quiet=options.quiet, force_lock=options.force_lock)
    if not options.quiet:
        for name, value in sorted(outcome.results.items()):
            print(f"{name} {value:.4f}")
        print(f"Predict with: jaxdl predict IMAGE --workdir {options.workdir}", file=sys.stderr)
    return 0


def build(config: Any, allow: tuple[str, ...] | None) -> Any:
    """Builds a config; one that was loaded as data may only name allowed packages."""
    from jaxdl import config as configs

    return configs.build(config) if allow is None else configs.build(config, allow=allow)


def _check_same(config: Any, workdir: Path, *, allowed: bool) -> None:
    """Refuses to go on with a run under a config that would have given other numbers."""
    from jaxdl import config as configs

    saved = workdir / "config.json"
    if allowed or not saved.exists() or not any((workdir / "checkpoints").glob("0*")):
        return
    before = configs.from_json(saved.read_text())
    changed = [row for row in configs.diff(before, config) if not row[0].startswith(FREE)]
    if changed:
        rows = "\n".join(f"  {key}: {old!r} -> {new!r}" for key, old, new in changed[:20])
        raise ConfigError(
            f"{workdir} was trained with another config:\n{rows}\n"
            "Use another --workdir, or pass --allow-changes to go on from its checkpoint all the same."
        )
