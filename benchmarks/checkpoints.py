"""What a checkpoint costs a training run: python -m benchmarks.checkpoints [--sizes small medium] [--rounds 3].

A run of the GPT-2 of jaxdl takes steps, saves, and takes steps while the save goes on: the seconds that the call of
`save` blocks, those until the save is on the disk, and the step time before and meanwhile. Beside it, in the same way
and in a process of its own, Orbax's CheckpointManager with its defaults, which writes no digests and syncs no files.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

SIZES = {
    "small": {"features": 256, "num_layers": 4, "num_heads": 4, "vocab_size": 8192},
    "medium": {"features": 512, "num_layers": 8, "num_heads": 8, "vocab_size": 16_384},
}
PEERS = ("jaxdl", "orbax")
ROWS, LENGTH, STEPS = 4, 64, 8


def main() -> None:
    """Prints a Markdown table, the median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("PEER", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print("| peer | state, MiB | step, ms | blocked, ms | blocked, steps | on the disk, s | step meanwhile, ms |")
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes:
        found: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
        for _ in range(options.rounds):
            for peer in PEERS:
                command = [sys.executable, "-m", "benchmarks.checkpoints", "--one", peer, size]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[peer].append(json.loads(done.stdout.splitlines()[-1]))
        for peer, rounds in found.items():
            median = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            steps = median["blocked"] / median["step"]
            print(
                f"| {peer} | {median['mib']:.0f} | {median['step']:.0f} | {median['blocked']:.0f} | {steps:.2f} "
                f"| {median['disk'] / 1e3:.2f} | {median['meanwhile']:.0f} |",
                flush=True,
            )


def measure(peer: str, size: str) -> dict[str, float]:
    """The medians of one process, in milliseconds."""
    import jax
    import numpy as np

    from jaxdl.learners import supervised
    from jaxdl.models import GPT2
    from jaxdl.optim import adam, optimizer
    from jaxdl.tasks import LanguageModeling

    sizes = SIZES[size]
    model = GPT2(**sizes, max_length=LENGTH, dropout_rate=0.0, attention_dropout_rate=0.0)
    task = LanguageModeling(vocabulary_size=sizes["vocab_size"])
    learner = supervised(model, task, optimizer(rule=adam(), learning_rate=1e-4))
    tokens = np.random.default_rng(0).integers(0, sizes["vocab_size"], (ROWS, LENGTH + 1), dtype=np.int32)
    ones = np.ones((ROWS, LENGTH), np.float32)
    batch = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "token_mask": ones, "mask": ones[:, 0]}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    take = jax.jit(learner.step, donate_argnums=0)
    steps: list[float] = []

    def step(state: Any) -> Any:
        began = time.perf_counter()
        state, _ = take(state, batch)
        jax.block_until_ready(state)
        steps.append(time.perf_counter() - began)
        return state

    for _ in range(STEPS + 2):
        state = step(state)
    alone, blocked, disk, meanwhile = statistics.median(steps[2:]), [], [], []
    with tempfile.TemporaryDirectory() as folder:
        save, saving, close = {"jaxdl": jaxdl, "orbax": orbax}[peer](folder)
        for number in range(4):
            began = time.perf_counter()
            save(number, state)
            blocked.append(time.perf_counter() - began)
            steps.clear()
            while saving():
                state = step(state)
            disk.append(time.perf_counter() - began)
            meanwhile += steps[:-1] or steps
        close()
    size_mib = sum(x.nbytes for x in jax.tree.leaves((state.params, state.opt_state))) / 2**20
    medians = {"step": alone, "blocked": statistics.median(blocked[1:]), "disk": statistics.median(disk[1:])}
    medians["meanwhile"] = statistics.median(meanwhile)
    return {"mib": size_mib, **{name: 1e3 * seconds for name, seconds in medians.items()}}


def jaxdl(folder: str) -> tuple[Any, Any, Any]:
    """How to save, whether a save goes on, and how to end."""
    from jaxdl.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder, keep=2)
    return checkpoints.save, checkpoints.poll, checkpoints.close


def orbax(folder: str) -> tuple[Any, Any, Any]:
    """The same of Orbax; a random key is no array to it."""
    import jax
    import orbax.checkpoint as ocp

    manager = ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(max_to_keep=2))

    def save(number: int, state: Any) -> None:
        plain = state.replace(key=jax.random.key_data(state.key))
        manager.save(number, args=ocp.args.StandardSave(plain))

    return save, manager.is_saving_in_progress, manager.close


if __name__ == "__main__":
    main()
