"""jaxdl verify resume."""

import argparse
import contextlib
import dataclasses
import functools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.cli.environment import use_cpu_devices
from jaxdl.cli.flags import add_config, natural, positive
from jaxdl.cli.processes import free_port
from jaxdl.errors import JaxdlError

if TYPE_CHECKING:
    from jaxdl.train.survival.campaign import Mismatch
    from jaxdl.train.survival.compare import Difference
    from jaxdl.train.survival.kills import Hit

# Every step has a row in the log, and no file is written that proves nothing, unless the user says otherwise.
_UNLESS_SAID = ("log_every=1", "tensorboard=false")
_SHOWN = 5


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the proof."""
    add_config(parser)
    parser.add_argument("--kills", type=positive, default=20, metavar="N", help="how many kills (default 20)")
    parser.add_argument(
        "--only", choices=("SIGKILL", "SIGTERM", "exception"), help="kill in this way alone (default: in all three)"
    )
    parser.add_argument("--processes", type=positive, default=1, metavar="P", help="train as P processes (default 1)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the random choices (default 0)")
    parser.add_argument("--workdir", metavar="FOLDER", help="where to train; kept (default: a temporary folder)")
    parser.add_argument(
        "--cpu-devices", type=positive, metavar="N", help="pretend that the CPU is N devices, to try out a mesh"
    )
    parser.add_argument("--verbose", action="store_true", help="print a line for each kill")


def run(options: argparse.Namespace) -> int:
    """Proves that a run which is killed and resumed ends as one that was not."""
    use_cpu_devices(options.cpu_devices)
    said = [override.split("=")[0] for override in options.overrides]
    options.overrides = [one for one in _UNLESS_SAID if one.split("=")[0] not in said] + options.overrides
    from jaxdl.cli.train import resolve
    from jaxdl.train import Experiment
    from jaxdl.train.survival import server

    server.check_fresh()
    resolve(options, Experiment)  # For errors, and for what its files import.
    with _folder(options.workdir) as folder, _compile_cache(folder):
        return _prove(options, folder)


def _prove(options: argparse.Namespace, folder: Path) -> int:
    from jaxdl.train.survival import campaign
    from jaxdl.train.survival.kills import KINDS

    launch = functools.partial(_commands, options)
    known = campaign.reference(launch, folder / "reference")
    made = f"{known.profile.steps} steps, {known.profile.checkpoints} checkpoints, {known.seconds:.1f} s"
    alone = options.processes == 1
    print(f"Uninterrupted: {made}{'' if alone else f', {options.processes} processes'}.", flush=True)
    hits: list[Hit] = []
    runs, began = 0, time.monotonic()

    def tell(hit: "Hit") -> None:
        hits.append(hit)
        if options.verbose:
            print(f"{len(hits):5} {time.monotonic() - began:7.1f} s  {hit}", flush=True)

    kinds = KINDS if options.only is None else (options.only,)
    for found in campaign.survive(
        launch, known, folder / "killed", kills=options.kills, kinds=kinds, seed=options.seed, tell=tell
    ):
        if isinstance(found, campaign.Mismatch):
            print(_table(hits), flush=True)
            again = campaign.whole(known, campaign.reference(launch, folder / "again"))
            raise JaxdlError(_explained(options, found, bool(again), folder))
        runs += 1
    print(_table(hits))
    ended = sum(len(hit.ended) for hit in hits)
    if ended:
        print(f"Processes that waited for one that was gone, and were ended: {ended}.")
    took = f"{len(hits)} kills in {runs} run{'s' if runs > 1 else ''}, {time.monotonic() - began:.0f} s"
    print(f"{took}. State, log and data order are those of the uninterrupted run: mismatches 0.")
    return 0


def _commands(options: argparse.Namespace, workdir: Path) -> list[Any]:
    """What each process runs: the command that a user would type."""
    from jaxdl.cli import main

    words = ["train", "--config", options.config, "--workdir", str(workdir), "--quiet"]
    words += [word for package in options.allow for word in ("--allow", package)]
    words += [] if options.code is None else ["--code", options.code]
    words += [] if options.cpu_devices is None else ["--cpu-devices", str(options.cpu_devices)]
    words += [f"--config.{override}" for override in options.overrides]
    if options.processes == 1:
        return [functools.partial(main, words)]
    words += ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(options.processes)]
    words += ["--join-seconds", "60", "--heartbeat-seconds", "10"]
    return [functools.partial(main, [*words, "--process", str(number)]) for number in range(options.processes)]


@contextlib.contextmanager
def _folder(workdir: str | None) -> Iterator[Path]:
    """An empty folder for the runs; a temporary one is kept where something is amiss."""
    if workdir is None:
        path = Path(tempfile.mkdtemp(prefix="jaxdl-verify-"))
    else:
        path = Path(workdir).absolute()
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise JaxdlError(f"{path} is not empty: choose another --workdir.")
    yield path
    if workdir is None:
        shutil.rmtree(path)


@contextlib.contextmanager
def _compile_cache(folder: Path) -> Iterator[None]:
    """Compiled programs in a folder of their own: a killed run may leave half of one behind."""
    before = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    yield
    if before is None:
        del os.environ["JAX_COMPILATION_CACHE_DIR"]


def _table(hits: "Sequence[Hit]") -> str:
    """How many kills there were, by kind and phase."""
    from jaxdl.train.survival.kills import KINDS
    from jaxdl.train.survival.watch import PHASES

    counts = Counter((hit.kill.kind, hit.phase) for hit in hits)
    rows = [["kills", *PHASES, "all"]]
    for kind in KINDS:
        row = [counts[kind, phase] for phase in PHASES]
        rows += [[kind, *map(str, row), str(sum(row))]] if sum(row) else []
    return "\n".join(f"{row[0]:10}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


def _explained(options: argparse.Namespace, found: "Mismatch", irreproducible: bool, folder: Path) -> str:
    lines = [f"After {len(found.hits)} kill(s) the run is not as the uninterrupted one:"]
    for difference in found.differences:
        lines.append(f"  {difference.text}")
        lines += [f"    {example}" for example in _examples(options, difference)]
    lines.append(f"The last kill: {found.hits[-1] if found.hits else 'none'}.")
    if irreproducible:
        lines.append(
            "Nor is a second uninterrupted run as the first: what it computes is not determined by its config."
        )
    lines.append(
        f"Both runs are kept in {folder}: reference and {found.folder.name}. Repeat it with --seed {options.seed}."
    )
    return "\n".join(lines)


def _examples(options: argparse.Namespace, difference: "Difference") -> list[str]:
    """The examples of a step, where one is named: which rows of its batch, and what the source calls them."""
    from jaxdl.cli.train import build_experiment, resolve
    from jaxdl.train import Experiment
    from jaxdl.train.survival import server

    number = difference.batch
    if number is None:
        return []

    def names() -> list[str]:
        config, allow = resolve(options, Experiment)
        experiment = build_experiment(config, allow)
        pipeline = dataclasses.replace(experiment.train, seed=experiment.seed)
        examples = pipeline.indices(number)
        rows = range(len(examples)) if difference.rows is None else difference.rows
        shown = [f"row {row}: example {examples[row]}, {pipeline.describe(int(examples[row]))}" for row in rows]
        return shown[:_SHOWN] + ([f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else [])

    return [f"step {difference.step}, {name}" for name in server.ask(names)]
