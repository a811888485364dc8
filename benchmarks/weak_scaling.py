"""What `jaxdl plan` predicts as devices and batch grow together: python -m benchmarks.weak_scaling [RECIPE ...].

Every row is a step that was compiled for so many virtual devices; the command of each is printed below the table. The
efficiency is that of the best case without overlap: computing over computing and communicating, at the peaks of the
chip. Nothing is run, and XLA's CPU compiler chooses the communication: it has no reduce-scatter, so that sharded
gradients are counted as all-reduces, twice what a compiler for accelerators sends.
"""

import argparse
import json
import shlex
import subprocess
import sys

COUNTS = (8, 64, 256, 4096)
# Rows of a batch for each device, and the mesh, as a function of the number of devices.
RECIPES = {
    "gpt2": ("configs/language/gpt2.py:small", 8, lambda n: f"{{data: {n // min(n, 64)}, fsdp: {min(n, 64)}}}"),
    "resnet50": ("configs/vision/imagenet_resnet50.py:synthetic", 64, lambda n: f"{{data: {n}, fsdp: 1}}"),
}


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--chip", default="v5p")
    options = parser.parse_args()
    commands = []
    print("| recipe | devices | state | temporary | sent by each | computes, ms | links, ms | efficiency |")
    print("|---|---|---|---|---|---|---|---|")
    for recipe in options.recipes:
        for count in options.counts:
            flags = _flags(recipe, count, options.chip)
            done = subprocess.run([sys.executable, "-m", "jaxdl", *flags, "--json"], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            print(_row(recipe, count, options.chip, json.loads(done.stdout.splitlines()[-1])), flush=True)
            commands.append(shlex.join(["jaxdl", *flags]))
    print("\n".join(["", "```sh", *commands, "```"]))


def _flags(recipe: str, count: int, chip: str) -> list[str]:
    config, rows, mesh = RECIPES[recipe]
    overrides = [f"--config.mesh={mesh(count)}", f"--config.train.batch_size={rows * count}"]
    return ["plan", "--config", config, "--devices", str(count), "--chip", chip, *overrides]


def _row(recipe: str, count: int, chip: str, found: dict) -> str:
    on = found["chips"][chip]
    compute, links = (1e3 * on["seconds"][name] for name in ("compute", "links"))
    state = found["parameters"] + found["optimizer"] + found["gradients"]
    sent = sum(_sent(one) for one in found["collectives"])
    return (
        f"| {recipe} | {count:,} | {state / 2**20:,.0f} MiB | {found['temporary'] / 2**30:.2f} GiB "
        f"| {sent / 2**20:,.0f} MiB | {compute:.1f} | {links:.2f} | {100 * compute / (compute + links):.1f} % |"
    )


def _sent(one: dict) -> float:
    from jaxdl.inspection.collectives import Collective

    return Collective(**one).sent


if __name__ == "__main__":
    main()
