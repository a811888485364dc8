"""Training speed of jaxdl beside PyTorch, plain Flax and a hand-written JAX loop, each in fresh, interleaved processes.

python -m benchmarks.compare mlp32 lenet --seconds 10 --rounds 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.peers.workloads import WORKLOADS

PEERS = ("jaxdl_train", "torch_eager", "torch_tuned", "plain_flax", "handwritten")
COLUMNS = ("steps_per_second", "seconds_to_first_step", "seconds_to_100th")


def main() -> None:
    """Measures and prints one Markdown table for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "workloads", nargs="*", default=list(WORKLOADS), help=f"of {', '.join(WORKLOADS)}; all by default"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of each process (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each peer (default 3)")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="which to run; torch_compiled is one more")
    options = parser.parse_args()
    for workload in options.workloads:
        found = measure(workload, options.peers, options.seconds, options.rounds)
        print(table(workload, found), flush=True)


def measure(workload: str, peers: Sequence[str], seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """The median over rounds of each column, by peer; rounds go through all peers in turn."""
    rows: dict[str, list[Mapping[str, float]]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as cache:
        if "jaxdl_train" in peers:  # Fills the compile cache that jaxdl keeps between runs; its time is shown too.
            rows["jaxdl_train (cold cache)"] = [one(workload, "jaxdl_train", 1.0, cache)]
        for _ in range(rounds):
            for peer in peers:
                rows[peer].append(one(workload, peer, seconds, cache))
    return {peer: {c: statistics.median(row[c] for row in found) for c in COLUMNS} for peer, found in rows.items()}


def one(workload: str, peer: str, seconds: float, cache: str) -> Mapping[str, float]:
    """What one process measured."""
    command = [sys.executable, "-m", f"benchmarks.peers.{peer}", workload, str(seconds)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    if peer == "jaxdl_train":
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(workload: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table, with the speed of jaxdl as a multiple of each peer's."""
    own = found["jaxdl_train"]["steps_per_second"] if "jaxdl_train" in found else float("nan")
    lines = [
        f"\n{workload}",
        "",
        "| | steps/s | jaxdl / this | first step, s | 100th step, s |",
        "|---|---|---|---|---|",
    ]
    for peer, row in found.items():
        cold = "cold" in peer
        speed = "" if cold else f"{row['steps_per_second']:,.1f}"
        ratio = "" if cold else f"{own / row['steps_per_second']:.2f}"
        lines.append(
            f"| {peer} | {speed} | {ratio} | {row['seconds_to_first_step']:.1f} | {row['seconds_to_100th']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
