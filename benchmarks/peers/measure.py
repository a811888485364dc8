"""Timing of a training function, from the start of the process on."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.workloads import WORKLOADS

THREADS = 2
WINDOWS = 7
Train = Callable[[int], None]
"""`train(steps)` makes that many steps and returns when the last is done."""


def process_age() -> float:
    """Seconds since the operating system started this process, to 10 ms."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def measure(train: Train, seconds: float, steps_per_call: int = 1) -> dict[str, Any]:
    """Times `train`, which was never called before.

    Returns:
      steps_per_second: the median of `WINDOWS` windows after 100 steps (or a third of `seconds`);
      window_steps_per_second: all of them;
      seconds_to_first_step, seconds_to_100th: since the process started;
      extrapolated: whether 100 steps did not fit, so that the last number was computed from the speed;
      steps_per_call: how many steps are the least that can be waited for, which counts in the times above.
    """
    train(steps_per_call)
    first = process_age()
    done, began = steps_per_call, time.perf_counter()
    while done < 100 and time.perf_counter() - began < seconds / 3:
        train(steps_per_call)
        done += steps_per_call
    reached = process_age()
    speeds = _windows(train, seconds, steps_per_call)
    speed = statistics.median(speeds)
    return {
        "steps_per_second": speed,
        "window_steps_per_second": speeds,
        "seconds_to_first_step": first,
        "seconds_to_100th": reached + max(0, 100 - done) / speed,
        "extrapolated": done < 100,
        "steps_per_call": steps_per_call,
    }


def _windows(train: Train, seconds: float, steps_per_call: int) -> list[float]:
    """Steps per second in equal windows that together take about two thirds of `seconds`."""
    window = seconds * 2 / 3 / WINDOWS
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < window / 4:  # long enough to judge by
        train(steps_per_call)
        calls += 1
    calls = max(1, round(calls * window / (time.perf_counter() - began)))
    speeds = []
    for _ in range(WINDOWS):
        began = time.perf_counter()
        train(calls * steps_per_call)
        speeds.append(calls * steps_per_call / (time.perf_counter() - began))
    return speeds


def limit_threads() -> None:
    """Keeps this process on `THREADS` cores. Call it before jax or torch start theirs."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(THREADS)


def main(run: Callable[[str, float], dict[str, Any]]) -> None:
    """The command line of a peer: `WORKLOAD [SECONDS]`, the measured time, 10 by default."""
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2 or arguments[0] not in WORKLOADS:
        sys.exit(f"usage: python -m benchmarks.peers.PEER {{{','.join(WORKLOADS)}}} [SECONDS]")
    limit_threads()
    print(json.dumps(run(arguments[0], float(arguments[1]) if len(arguments) == 2 else 10.0)))
