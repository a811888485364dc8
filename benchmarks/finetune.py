"""What freezing saves: `python -m benchmarks.finetune [resnet | vit] [--batch-size N]`.

One training step with all parameters, with all but the head and the last block frozen, with all but the head frozen
(a linear probe), and with LoRA: its FLOPs, its time (the fastest of several), the temporary memory that the compiler
plans for it, and the memory of parameters and optimizer state.
"""

import argparse
import os
import time
from typing import Any

os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import jax
import numpy as np

from jaxdl.inspection import flops, table
from jaxdl.learners import supervised
from jaxdl.models import LoRA, ResNet
from jaxdl.models.vit import ViT
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification

MiB = 2**20


def cases(kind: str) -> tuple[tuple[int, ...], dict[str, tuple[Any, tuple[str, ...]]]]:
    """The shape of an image, and model and frozen patterns of each way to train."""
    shape = (64, 64, 3)
    if kind == "resnet":
        model, last = ResNet(num_classes=10, depth=18), "stage_3_block_1"
        targets = (r".*block_\d/conv_\d/kernel",)
    else:
        model = ViT(num_classes=10, patch_size=8, features=192, num_layers=12, num_heads=3, hidden=768)
        last, targets = "layers/block_11", (r".*/(query|value)/kernel",)
    return shape, {
        "all parameters": (model, ()),
        "last block and head": (model, (f"(?!head/|final_norm/|{last}/).*",)),
        "head (linear probe)": (model, ("(?!head/).*",)),
        "LoRA, rank 8": (LoRA(model=model, rank=8, targets=targets), ("base/(?!head/).*",)),
    }


def measure(model: Any, frozen: tuple[str, ...], batch: dict[str, np.ndarray], repeats: int) -> tuple[str, ...]:
    """FLOPs, milliseconds a step, MiB of temporaries, MiB of state."""
    task = Classification(num_classes=10)
    rule = optimizer(rule=adam(), learning_rate=1e-4)
    learner = supervised(model, task, rule, frozen=frozen)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    counted = flops(learner.step, state, batch)
    compiled = jax.jit(learner.step, donate_argnums=0).lower(state, batch).compile()
    memory = compiled.memory_analysis()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch))
        times.append(time.perf_counter() - began)
    bytes_of = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes"))  # noqa: E731
    return (
        f"{counted / 1e9:.1f}",
        f"{1000 * min(times):.0f}",
        f"{memory.temp_size_in_bytes / MiB:.0f}",
        f"{(bytes_of(state.params) + bytes_of(state.opt_state)) / MiB:.1f}",
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What freezing saves.")
    parser.add_argument("kind", nargs="?", choices=("resnet", "vit"), default="resnet")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    shape, ways = cases(options.kind)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (options.batch_size, *shape), np.uint8),
        "label": rng.integers(0, 10, options.batch_size).astype(np.int32),
        "mask": np.ones(options.batch_size, np.float32),
    }
    header = ("what trains", "GFLOPs", "ms a step", "temporary MiB", "state MiB")
    rows = [(name, *measure(model, frozen, batch, options.repeats)) for name, (model, frozen) in ways.items()]
    print(f"{options.kind}, batch of {options.batch_size} images {shape}, {jax.devices()[0].device_kind}")
    print(table(header, rows, right=header[1:]))


if __name__ == "__main__":
    main()
