"""Forward and backward of our models beside those of transformers, at the same shapes and with the same weights.

python -m benchmarks.models bert vit --seconds 3 --rounds 5

Each side is a process of its own, and they are measured in turn, round after round. Training mode without dropout, in
float32: the gradient of all parameters. PyTorch runs eager with its fused attention; `--compiled` adds torch.compile.
On a machine that others use too, `--processor` counts the processor time of one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.families import FAMILIES
from benchmarks.peers.measure import THREADS


def main() -> None:
    """Measures and prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side (default 5)")
    parser.add_argument("--compiled", action="store_true", help="measure torch.compile too")
    parser.add_argument("--processor", action="store_true", help="one thread, by its processor time")
    options = parser.parse_args()
    clock = ("1", "processor") if options.processor else (str(THREADS), "wall")
    sides = ("jaxdl", "torch", *(["compiled"] if options.compiled else []))
    heads = "".join(f" {side}, ms | jaxdl / it |" for side in sides[1:])
    print(f"| family | shape | jaxdl, ms |{heads}\n|---|---|---|{'---|---|' * len(sides[1:])}", flush=True)
    for name in options.families:
        found = measure(name, sides, options.seconds, options.rounds, clock)
        cells = "".join(f" {found[side]:.1f} | {found['jaxdl'] / found[side]:.2f} |" for side in sides[1:])
        print(f"| {name} | {shape(name)} | {found['jaxdl']:.1f} |{cells}", flush=True)


def shape(name: str) -> str:
    """Of the batch, such as `tokens 8 x 128`."""
    inputs = FAMILIES[name]("small").inputs
    return ", ".join(f"{key} {' x '.join(map(str, array.shape))}" for key, array in inputs.items())


def measure(name: str, sides: Sequence[str], seconds: float, rounds: int, clock: tuple[str, str]) -> dict[str, float]:
    """Milliseconds of a step by side: the median over the rounds of each round's median.

    `clock` is the number of threads and "wall" or "processor".
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        made = (
            f"from benchmarks.families import FAMILIES; FAMILIES[{name!r}]('small').make().save_pretrained({folder!r})"
        )
        _checked([sys.executable, "-c", made])
        processes = {side: stack.enter_context(_served(name, folder, side, *clock)) for side in sides}
        rows: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, process in processes.items():
                rows[side].append(statistics.median(_ask(process, seconds)))
    return {side: statistics.median(row) for side, row in rows.items()}


@contextmanager
def _served(name: str, folder: str, side: str, *clock: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to measure."""
    command = [sys.executable, "-m", "benchmarks.peers.family", name, folder, side, *clock]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        try:
            if (process.stdout.readline() if process.stdout else "") != "ready\n":
                errors.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{errors.read()}")
            yield process
        finally:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen[str], seconds: float) -> list[float]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("The process must have been started with pipes.")
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


if __name__ == "__main__":
    main()
