"""jaxdl list."""

import argparse
import importlib
import inspect
from types import ModuleType

from jaxdl.errors import ConfigError

KINDS: dict[str, tuple[str, ...]] = {
    "models": ("jaxdl.models",),
    "tasks": ("jaxdl.tasks",),
    "data": ("jaxdl.data.sources", "jaxdl.data.text", "jaxdl.data.audio"),
    "transforms": ("jaxdl.data.transforms",),
    "augmentations": ("jaxdl.augment",),
    "optimizers": ("jaxdl.optim",),
    "schedules": ("jaxdl.optim.schedules",),
    "hooks": ("jaxdl.train",),
    "activations": ("jaxdl.nn.activations",),
}
"""The modules whose public names are of each kind."""

_HOMES: dict[str, str | tuple[str, ...]] = {
    "hooks": "jaxdl.train.hooks",
    "optimizers": ("jaxdl.optim.rules", "jaxdl.optim.muon", "jaxdl.optim.plateau"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="only one kind, such as models")


def run(options: argparse.Namespace) -> int:
    """Prints what there is, one line each."""
    if options.kind is not None and options.kind not in KINDS:
        raise ConfigError(f"There is no kind {options.kind!r}; there are {', '.join(KINDS)}.")
    for kind in KINDS if options.kind is None else [options.kind]:
        for module in KINDS[kind]:
            print(f"{kind} ({module})")
            for name, line in entries(importlib.import_module(module), _HOMES.get(kind, module)):
                print(f"  {name:24} {line}")
        if kind == "models":
            _print_published()
    return 0


def _print_published() -> None:
    """Prints the sizes that were published, with their parameters and FLOPs."""
    from jaxdl.inspection import table
    from jaxdl.models.published import PUBLISHED

    header = ("published size", "parameters", "GFLOPs", "input", "paper")
    rows = [
        (
            f"  {entry.name}",
            f"{entry.parameters:,}",
            f"{entry.flops / 1e9:,.3f}",
            ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, (shape, _) in entry.inputs.items()),
            entry.paper,
        )
        for entry in PUBLISHED
    ]
    if rows:
        print()
        print(table((f"  {header[0]}", *header[1:]), rows, right=("parameters", "GFLOPs")))
        print("  (of one example's forward pass, a multiplication and an addition counting as two)")


def entries(module: ModuleType, home: str | tuple[str, ...]) -> list[tuple[str, str]]:
    """The public callables of a module that were made below `home`, and the first line of what each says of itself."""
    names = module.__all__ if hasattr(module, "__all__") else [n for n in vars(module) if not n.startswith("_")]
    found = []
    for name in sorted(names, key=str.lower):
        value = getattr(module, name)
        own = callable(value) and getattr(value, "__module__", "").startswith(home)
        if own and inspect.getdoc(value) and not name.endswith("State"):
            found.append((name, (inspect.getdoc(value) or "").splitlines()[0]))
    return found
