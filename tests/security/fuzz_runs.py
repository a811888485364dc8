"""Fuzz targets: configs, and what a run folder holds."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np

from jaxdl import config as configs
from jaxdl.checkpoint import Checkpoints, lock_workdir, restore_part
from jaxdl.checkpoint import manifest as manifests
from jaxdl.checkpoint.lock import LOCK_NAME, _alive, _read_owner, _refusal
from jaxdl.inference import load
from jaxdl.train import writers
from tests.security.fuzz_inputs import FACTS, document, folder, joined, split, written


def override(data: bytes) -> None:
    tree = configs.from_json(json.dumps(document()))
    configs.override(tree, data.decode("utf-8", "surrogateescape").split("\n"), allow=())


def override_seeds() -> tuple[bytes, ...]:
    return (
        b"steps=10\nmodel.widths=(4, 5)",
        b"optimizer.rule=jaxdl.optim:sgd(momentum=0.9)\nmodel.activation=@jax.nn:gelu",
        b"model=jaxdl.models:MLP(num_classes=3, widths=(1,), activation=@jax.nn:relu)",
        b"evals={'a b': [1, {c: null}], d: -1e-3}\nnames.0='x\\u00fcy'",
        b"task.label_smoothing=0.1\noptimizer.learning_rate=jaxdl.optim:cosine(peak=1.0, steps=5)",
    )


def config_json(data: bytes) -> None:
    tree = configs.from_json(data.decode("utf-8", "replace"))
    configs.show(tree)
    configs.check(tree, allow=())
    configs.build(tree, allow=())


def config_json_seeds() -> tuple[bytes, ...]:
    return (json.dumps(document()).encode(),)


def config_file(data: bytes) -> None:
    """A saved config on the command line, and what `override` and `to_json` make of it."""
    tree = configs.load(written("config.json", data))
    configs.to_json(configs.override(tree, ["steps=3"], allow=()))


@functools.cache
def _checkpoints() -> Path:
    """A folder with the checkpoints of one step."""
    path = folder() / "sound"
    with Checkpoints(path) as checkpoints:
        state = {"params": {"w": np.arange(12.0, dtype=np.float32).reshape(3, 4)}, "step": np.int32(3)}
        checkpoints.save(3, state, {"hooks": {}, "x": float("nan")}, metrics={"loss": 0.5}, wait=True)
    return path


def _opened(path: Path) -> None:
    with Checkpoints(path, read_only=True) as checkpoints:
        checkpoints.steps()
        target = {"params": {"w": np.zeros((3, 4), np.float32)}, "step": np.int32(0)}
        try:
            checkpoints.restore(target)
        finally:
            restore_part(path, ".*")


def manifest(data: bytes) -> None:
    """The manifest as it is; and the body alone, under the digest that someone who forges it would write."""
    body, raw = split(data, 2)
    path = folder() / "manifest"
    if not path.exists():
        shutil.copytree(_checkpoints(), path)
    text = raw
    if body:
        try:
            document = json.loads(body)
            text = json.dumps({"sha256": manifests.to_json_digest(document), "body": document}).encode()
        except (ValueError, RecursionError):
            text = body
    (path / "00000003" / manifests.FILE_NAME).write_bytes(text)
    _opened(path)


def manifest_seeds() -> tuple[bytes, ...]:
    text = (_checkpoints() / "00000003" / manifests.FILE_NAME).read_bytes()
    return (joined(json.dumps(json.loads(text)["body"]).encode(), b""), joined(b"", text))


def state_files(data: bytes) -> None:
    """The files of Orbax, changed, under a manifest that says that they should be so."""
    path = folder() / "state_files"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(_checkpoints(), path)
    step = path / "00000003"
    intact = manifests.from_json((step / manifests.FILE_NAME).read_bytes())
    names = sorted(intact.files)
    for name, part in zip(names, split(data, len(names)), strict=True):
        (step / name).write_bytes(part)
    (step / manifests.FILE_NAME).unlink()
    from jaxdl.checkpoint.commit import seal

    seal(step, dataclasses.replace(intact, files={}))
    _opened(path)


def state_files_seeds() -> tuple[bytes, ...]:
    step = _checkpoints() / "00000003"
    names = sorted(manifests.from_json((step / manifests.FILE_NAME).read_bytes()).files)
    return (joined(*[(step / name).read_bytes() for name in names]),)


def run_json(data: bytes) -> None:
    """`run.json` by itself, and in a run folder that a model is loaded from."""
    path = _run_folder()
    (path / "run.json").write_bytes(data)
    try:
        load(path)
    finally:
        (path / "run.json").write_text(json.dumps(FACTS))


def run_config(data: bytes) -> None:
    """A run folder whose `config.json` someone else wrote."""
    path = _run_folder()
    (path / "config.json").write_bytes(data)
    try:
        load(path)
    finally:
        (path / "config.json").write_bytes(json.dumps(document()).encode())


@functools.cache
def _run_folder() -> Path:
    path = folder() / "run"
    shutil.copytree(_checkpoints(), path / "checkpoints", dirs_exist_ok=True)
    (path / "config.json").write_text(json.dumps(document()))
    (path / "run.json").write_text(json.dumps(FACTS))
    return path


def run_json_seeds() -> tuple[bytes, ...]:
    return (json.dumps(FACTS).encode(), json.dumps({**FACTS, "averaged": True, "best": None, "mode": None}).encode())


def lock(data: bytes) -> None:
    path = Path(written(f"lock/{LOCK_NAME}", data))
    _alive(_read_owner(path))
    assert _refusal(path.parent, path).isprintable()
    lock_workdir(path.parent).release()


def lock_seeds() -> tuple[bytes, ...]:
    owner = {"pid": 1, "host": "h", "started": "7", "since": "2025-01-01 00:00:00", "command": "jaxdl train"}
    import socket

    return (json.dumps(owner).encode(), json.dumps({**owner, "host": socket.gethostname()}).encode())


def metrics_log(data: bytes) -> None:
    path = written("metrics.jsonl", data)
    try:
        writers.read_rows(path)
    finally:
        with writers.JsonlWriter(path) as log:
            log.truncate_after(5)


def metrics_log_seeds() -> tuple[bytes, ...]:
    rows = [{"step": n, "time": 0.5, "kind": "train", "loss": 1 / n, "x": "NaN"} for n in range(1, 9)]
    return ("".join(json.dumps(row) + "\n" for row in rows).encode(), b"")
