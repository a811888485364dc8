"""One side of `benchmarks.models`, as a process of its own: `FAMILY FOLDER {jaxdl,torch,compiled} THREADS CLOCK`.

Says "ready" when its step has run twice. Then each line on standard input is a number of seconds to run for; the answer
is the milliseconds of each step, as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.families import FAMILIES, Original, our_outputs, their_outputs
from jaxdl.cli.environment import keep_freed_memory

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def jaxdl_step(original: Original, folder: str) -> Callable[[], None]:
    """Forward and backward of ours, jitted: gradients of all parameters in training mode."""
    import jax
    import jax.numpy as jnp

    from jaxdl import interop

    model, variables = interop.load(folder)
    params = variables.pop("params")
    mutable = list(variables)
    inputs = jax.device_put(original.inputs)

    def loss(params: Any, variables: Any, inputs: Any) -> tuple[jax.Array, Any]:
        rngs = {"dropout": jax.random.key(0)}
        outputs, changed = model.apply(
            {"params": params, **variables}, **inputs, train=True, mutable=mutable, rngs=rngs
        )
        return sum(jnp.mean(jnp.square(output)) for output in our_outputs(outputs, inputs)), changed

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def run() -> None:
        jax.block_until_ready(step(params, variables, inputs))

    return run


def torch_step(original: Original, folder: str, threads: int, compiled: bool) -> Callable[[], None]:
    """The same of theirs, eager or by `torch.compile`."""
    import torch

    torch.set_num_threads(threads)
    model = original.load(folder, train=True)
    inputs = original.theirs()
    forward = torch.compile(model) if compiled else model

    def run() -> None:
        outputs = their_outputs(forward(**inputs), inputs)
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        model.zero_grad()

    return run


def main() -> None:
    """Serves measurements until standard input ends."""
    family, folder, side, threads, clock = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = threads
    keep_freed_memory()
    original = FAMILIES[family]("small")
    if side == "jaxdl":
        run = jaxdl_step(original, folder)
    else:
        run = torch_step(original, folder, int(threads), side == "compiled")
    run()
    run()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(times(run, float(line), CLOCKS[clock])), flush=True)


def times(run: Callable[[], None], seconds: float, clock: Callable[[], float]) -> list[float]:
    """Milliseconds of each of at least two steps, after one that counts for nothing."""
    run()
    found, began = [], time.perf_counter()
    while len(found) < 2 or time.perf_counter() - began < seconds:
        start = clock()
        run()
        found.append(1000 * (clock() - start))
    return found


if __name__ == "__main__":
    main()
