"""jaxdl train."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdl.cli.environment import allowed, import_from_here, keep_freed_memory, use_compile_cache, use_cpu_devices
from jaxdl.cli.flags import add_config, natural, positive
from jaxdl.cli.processes import join, leaving_with_an_error, told_when_lost
from jaxdl.cli.saved import saved_config, unreadable
from jaxdl.cli.signals import preempted_by_sigterm
from jaxdl.cli.watchdog import ended_when_stuck
from jaxdl.errors import ConfigError

TAKES_OVERRIDES = True
# What may change between the two halves of a run without changing what it computes up to the last step.
FREE = (
    "activations", "steps", "epochs", "evals", "hooks", "log_every", "mesh", "mapping", "nonfinite_limit", "remat",
    "resident", "rollbacks", "rules", "saving", "steps_per_dispatch", "tensorboard", "train.threads", "train.processes",
)  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_config(parser)
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the run folder: made, or resumed from")
    parser.add_argument(
        "--allow-changes", action="store_true", help="resume although the config differs in what decides the result"
    )
    parser.add_argument("--force-lock", action="store_true", help="take a run folder over whose lock is not free")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument(
        "--cpu-devices", type=positive, metavar="N", help="pretend that the CPU is N devices, to try out a mesh"
    )
    parser.add_argument(
        "--stall-seconds",
        type=positive,
        metavar="S",
        help="end with 1 and say where, when no step or batch of an evaluation is begun for so long (default: never)",
    )
    several = parser.add_argument_group("several processes")
    several.add_argument(
        "--distributed",
        action="store_true",
        help="join those of the TPU pod, SLURM, Open MPI or Kubernetes job",
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="or say where process 0 listens,")
    several.add_argument("--processes", type=positive, metavar="N", help="how many processes there are,")
    several.add_argument("--process", type=natural, metavar="I", help="and which this is, from 0")
    several.add_argument(
        "--join-seconds", type=positive, default=300, metavar="S", help="how long to wait for the others (default 300)"
    )
    several.add_argument(
        "--heartbeat-seconds",
        type=positive,
        default=100,
        metavar="S",
        help="how long one may be silent before the others end (default 100)",
    )


def run(options: argparse.Namespace) -> int:
    """Trains."""
    with preempted_by_sigterm(), leaving_with_an_error():
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    keep_freed_memory()
    use_cpu_devices(options.cpu_devices)
    join(options)
    from jaxdl.train import Experiment, train

    config, allow = resolve(options, Experiment)
    _check_same(config, Path(options.workdir), allowed=options.allow_changes)
    use_compile_cache()
    import jax

    from jaxdl import config as configs
    from jaxdl.config.provenance import provenance

    experiment = build_experiment(config, allow, Path(options.workdir))
    record = {
        "config.json": configs.to_json(config),
        "config.txt": configs.show(config) + "\n",
        "provenance.json": json.dumps(
            provenance([str(d) for d in jax.devices()], config_path=options.config.split(":")[0]), indent=1
        ),
    }
    with told_when_lost(), ended_when_stuck(options.stall_seconds):
        outcome = train(experiment, options.workdir, record=record, quiet=options.quiet, force_lock=options.force_lock)
    if not options.quiet and jax.process_index() == 0:
        for name, value in sorted(outcome.results.items()):
            print(f"{name} {value:.4f}")
        if hasattr(experiment.task, "decode") and "image" in outcome.program.sample:
            code = "" if _reloads(config) else f" --code {options.config}"
            print(f"Predict with: jaxdl predict IMAGE --workdir {options.workdir}{code}", file=sys.stderr)
    return 0


def resolve(options: argparse.Namespace, root: Callable[..., Any]) -> tuple[Any, tuple[str, ...] | None]:
    """The checked config of the flags, and the packages that it may name: None, which is all, for a user's own file."""
    from jaxdl import config as configs

    allow = allowed(options) if options.config.endswith(".json") else None
    import_from_here(allow)
    config = configs.load(options.config)
    config = configs.override(config, _everywhere(config, options.overrides), allow=allow)
    configs.check(config, root, allow=allow)
    return config, allow


def _everywhere(config: Any, overrides: list[str]) -> list[str]:
    """The overrides, those of the tokenizer also wherever else the config has the same one."""
    from jaxdl import config as configs

    found = list(overrides)
    of_tokenizer = [one.removeprefix("tokenizer") for one in overrides if re.match(r"tokenizer[.=]", one)]
    if of_tokenizer and "tokenizer" in config and config["tokenizer"] is not None:
        places = [place for place in configs.places(config, config["tokenizer"]) if place != "tokenizer"]
        found += [place + one for place in places for one in of_tokenizer]
    return found


def build_experiment(config: Any, allow: tuple[str, ...] | None, workdir: Path | None = None) -> Any:
    """The experiment of a config, with one tokenizer wherever the config has the same.

    It is that of the run folder, where there is a run of this tokenizer already: its file is what the model was trained
    with, whatever the texts have become.
    """
    from jaxdl import config as configs

    if "tokenizer" not in config or config["tokenizer"] is None:
        return configs.build(config, allow=allow)
    tokenizer = _of_run(config["tokenizer"], workdir) if workdir is not None else None
    tokenizer = configs.build(config["tokenizer"], allow=allow) if tokenizer is None else tokenizer
    return configs.build(config, allow=allow, known=((config["tokenizer"], tokenizer),))


def _of_run(spec: Any, workdir: Path) -> Any:
    """The tokenizer of a run whose config says the same of it."""
    from jaxdl import config as configs

    before, written = saved_config(workdir), workdir / "tokenizer.json"
    if before is None or not written.exists():
        return None
    from jaxdl.data.text import load_tokenizer

    return load_tokenizer(path=str(written)) if configs.places(before, spec) else None


def _reloads(config: Any) -> bool:
    """Whether a saved config names nothing but what jaxdl may build by itself."""
    from jaxdl import config as configs

    try:
        configs.check(config, allow=())
    except ConfigError:
        return False
    return True


def _check_same(config: Any, workdir: Path, *, allowed: bool) -> None:
    """Refuses to go on with a run under a config that would have given other numbers."""
    from jaxdl import config as configs

    before = None if allowed or not _has_begun(workdir) else saved_config(workdir)
    if before is None:
        return
    differences = configs.diff(before, config)
    # A version that did not know a setting did what None stands for.
    changed = [row for row in differences if not row[0].startswith(FREE) and (row[1:] != (configs.ABSENT, None))]
    if changed:
        rows = "\n".join(f"  {key}: {old!r} -> {new!r}" for key, old, new in changed[:20])
        raise ConfigError(
            f"{workdir} was trained with another config:\n{rows}\n"
            "Use another --workdir, or pass --allow-changes to go on from its checkpoint all the same."
        )


def _has_begun(workdir: Path) -> bool:
    """Whether there is a checkpoint of the run, even one that cannot be read or that a kill left aside."""
    from jaxdl.checkpoint import holds_steps

    try:
        return holds_steps(workdir / "checkpoints")
    except OSError as error:
        raise unreadable(workdir, error) from error
