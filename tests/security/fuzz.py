"""Runs fuzz targets: `python -m tests.security.fuzz NAME --seconds 30`, or `all`; `--replay FILE` runs one input."""

import argparse
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxdl.errors import JaxdlError
from tests.security.fuzz_targets import TARGETS, Target
from tests.security.mutate import mutated

SECONDS = 1.0
KIBIBYTES = 256 * 1024


class Finding(NamedTuple):
    """An input that broke the contract, and how."""

    data: bytes
    what: str
    message: str = ""


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """The seeds as they are, then changes of them without end, the same for the same number."""
    seeds = target.seeds()
    yield from seeds
    choose = random.Random(seed)
    while True:
        yield mutated(choose.choice(seeds), seeds, choose)


def try_one(target: Target, data: bytes, *, again: bool = True) -> Finding | None:
    """Reads one input; None where only an error of jaxdl came out, in time and in bounds.

    What takes too long is read `again`: the first to be read may import modules.
    """
    began = time.thread_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            target.read(data)
    except JaxdlError as error:
        if not str(error).strip():
            return Finding(data, f"{type(error).__name__} without a message")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in where if "/jaxdl/" in frame.filename and "/tests/" not in frame.filename]
        last = (inside or where)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return Finding(data, f"{type(error).__name__} at {place}", repr(error)[:200])
    spent = time.thread_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if spent > SECONDS and again:
        return try_one(target, data, again=False)
    if spent > SECONDS:
        return Finding(data, "took too long", f"{spent:.1f} s of processor time")
    if grown > KIBIBYTES:
        return Finding(data, "took too much memory", f"{grown / 1024:.0f} MiB")
    return None


def findings(name: str, *, seed: int = 0, count: int | None = None, seconds: float = 1e9) -> tuple[int, list[Finding]]:
    """How many inputs were tried, and the first finding of each kind."""
    target, found, tried = TARGETS[name], {}, 0
    for data in target.seeds():  # Once beforehand: what is imported and set up counts for no input.
        try_one(target, data)
    began = time.monotonic()
    for tried, data in enumerate(inputs(target, seed), 1):
        _note(data)
        if (finding := try_one(target, data)) is not None:
            found.setdefault(finding.what, finding)
        if tried == count or time.monotonic() - began > seconds:
            break
    return tried, list(found.values())


_LAST: list[Path] = []


def _note(data: bytes) -> None:
    """Keeps the input on the disk while it runs, where `main` asked for it: a crash leaves it there."""
    for path in _LAST:
        path.write_bytes(data)


def main() -> int:
    """Prints inputs a second and every finding, whose input it keeps as a file; the exit code is 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, help="an input to run alone, with its traceback")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs that fail are written")
    options = parser.parse_args()
    import faulthandler

    faulthandler.enable()
    if options.replay:
        TARGETS[options.name].read(options.replay.read_bytes())
        return 0
    failed = 0
    for name in TARGETS if options.name == "all" else [options.name]:
        options.keep.mkdir(exist_ok=True, parents=True)
        last = options.keep / f"{name}.last"
        _LAST[:] = [last]
        began = time.monotonic()
        tried, found = findings(name, seed=options.seed, seconds=options.seconds)
        print(
            f"{name}: {tried} inputs, {tried / (time.monotonic() - began):.0f} a second, {len(found)} findings",
            flush=True,
        )
        for number, finding in enumerate(found):
            path = options.keep / f"{name}.{number}"
            path.write_bytes(finding.data)
            print(f"  {finding.what} {finding.message}\n    {path}: {finding.data[:100]!r}", flush=True)
        last.unlink(missing_ok=True)
        failed += len(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
