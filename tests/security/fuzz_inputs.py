"""What the fuzz targets share: where inputs lie, and what a sound one is."""

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from jaxdl import config as configs
from jaxdl.data.text import (
    Tokenizer,
    utf8_bytes,
)

SEPARATOR = b"\n%%%%\n"
"""Between the files of an input that is more than one."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader, what it reads when all is well, and how many inputs of it take about a second."""

    read: Callable[[bytes], object]
    seeds: Callable[[], tuple[bytes, ...]]
    inputs: int


@functools.cache
def folder() -> Path:
    """Where inputs lie as files; it goes with the process that made it."""
    made = tempfile.TemporaryDirectory(prefix="jaxdl-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    return _keep(made)


_KEPT: list[object] = []


def _keep(made: "tempfile.TemporaryDirectory[str]") -> Path:
    _KEPT.append(made)
    return Path(made.name)


def written(name: str, data: bytes) -> str:
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def joined(*parts: bytes) -> bytes:
    return SEPARATOR.join(parts)


def split(data: bytes, count: int) -> list[bytes]:
    parts = data.split(SEPARATOR, count - 1)
    return parts + [b""] * (count - len(parts))


@functools.cache
def document() -> dict[str, object]:
    """A saved config of a whole model, as data."""
    from jaxdl.models import MLP
    from jaxdl.optim import adam, optimizer
    from jaxdl.tasks import Classification

    parts = {
        "model": configs.spec(MLP, num_classes=10, widths=(8,)),
        "task": configs.spec(Classification, num_classes=10),
        "optimizer": configs.spec(optimizer, rule=configs.spec(adam), learning_rate=0.1),
    }
    config = {name: json.loads(configs.to_json(part))["config"] for name, part in parts.items()}
    config |= {"steps": 5, "evals": {}, "names": ["a", 1.5]}
    return {"version": 1, "config": config, "origins": {"steps": "configs/x.py:3"}}


FACTS = {"format": 1, "labels": ["a", "b"], "example": {"image": {"shape": [8, 8, 1], "dtype": "uint8"}}}
FACTS |= {"averaged": False, "best": "loss", "mode": "min", "devices": []}


@functools.cache
def byte_tokens() -> Tokenizer:
    return utf8_bytes()
