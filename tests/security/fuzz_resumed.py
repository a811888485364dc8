"""Fuzz targets: what `train` and `replay` read of a run folder before they go on, and what `convert` reads."""

import argparse
import contextlib
import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl import config as configs
from jaxdl.checkpoint import Restored
from jaxdl.checkpoint.manifest import pack, unpack
from jaxdl.cli import convert, replay
from jaxdl.cli import train as training
from jaxdl.data import Pipeline
from jaxdl.data.sources import Synthetic
from jaxdl.data.sources.synthetic import Field
from jaxdl.errors import JaxdlError
from jaxdl.learners import TrainState
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import EarlyStopping, Experiment, assemble
from jaxdl.train.folder import RunFolder
from jaxdl.train.hooks import Log
from jaxdl.train.hooks.save import remembered
from jaxdl.train.loop import Moment
from jaxdl.train.plain import to_plain
from jaxdl.train.program import Program, prepare
from jaxdl.train.reporter import Reporter
from jaxdl.train.resume import facts, first_moment
from jaxdl.train.rollback import RollBack, batch_number, recorded, spans
from jaxdl.types import Metrics
from tests.security.fuzz_inputs import byte_tokens, folder, written

STEPS = 40


@functools.cache
def _config() -> Any:
    """A whole experiment that is quick to build."""
    image = configs.spec(Field, dtype="uint8", shape=(2, 2, 1))
    fields = {"image": image, "label": configs.spec(Field, dtype="int32", high=3)}
    return configs.spec(
        Experiment,
        model=configs.spec(MLP, num_classes=3, widths=(4,)),
        task=configs.spec(Classification, num_classes=3),
        optimizer=configs.spec(optimizer, rule=configs.spec(adam), learning_rate=0.1),
        train=configs.spec(Pipeline, source=configs.spec(Synthetic, count=16, fields=fields), batch_size=8),
        steps=STEPS,
        log_every=4,
    )


@functools.cache
def _run_folder(name: str) -> Path:
    """A run folder with a checkpoint, by the names of its files."""
    path = folder() / name
    (path / "checkpoints" / "00000003").mkdir(parents=True)
    (path / "tokenizer.json").write_text(byte_tokens().json)
    return path


def rollbacks(data: bytes) -> None:
    """Those of a run, and the batches that follow from them."""
    path = _run_folder("rolled_back")
    (path / "rollbacks.json").write_bytes(data)
    _followed(RunFolder(path).rollbacks())


def _followed(found: tuple[RollBack, ...]) -> None:
    numbers = [batch_number(step, found) for step in range(STEPS)]
    list(spans(0, STEPS, found))
    _program().feed.pipeline.indices(max(numbers))


def _rolled_back() -> list[dict[str, object]]:
    first = RollBack(step=8, batch=14, first=12, last=14, reason="The loss was NaN.")
    return [first.json(), RollBack(step=4, batch=20, first=6, last=9, reason="Again.").json()]


def rollbacks_seeds() -> tuple[bytes, ...]:
    return (json.dumps(_rolled_back()).encode(), b"[]", b'[{"a": 1}]', json.dumps(_rolled_back(), indent=1).encode())


def run_devices(data: bytes) -> None:
    path = _run_folder("devices")
    (path / "run.json").write_bytes(data)
    RunFolder(path).devices()


def run_devices_seeds() -> tuple[bytes, ...]:
    return (b'{"devices": ["cpu:0", "cpu:1"], "format": 1}', b'{"devices": []}')


def train_config(data: bytes) -> None:
    """The `config.json` of a run that goes on, which its new config is held against."""
    path = _run_folder("to_go_on")
    (path / "config.json").write_bytes(data)
    with contextlib.suppress(JaxdlError):  # The next reader wants to see the input too.
        training._of_run(_config()["model"], path)
    training._check_same(_config(), path, allowed=False)


def replay_config(data: bytes) -> None:
    """The `config.json` of a run that is replayed, and the experiment that it makes."""
    path = _run_folder("to_replay")
    (path / "config.json").write_bytes(data)
    replay.read_experiment(path, [], ())


def run_config_seeds() -> tuple[bytes, ...]:
    return (configs.to_json(_config()).encode(),)


@functools.cache
def _program() -> Program:
    return prepare(_experiment())


@functools.cache
def _experiment() -> Experiment:
    return configs.build(_config())


def run_info(data: bytes) -> None:
    """What a manifest says beside the state, with a digest that is right."""
    try:
        info = unpack(json.loads(data))
    except (ValueError, RecursionError, TypeError):
        return
    if not isinstance(info, dict):
        return  # The manifest itself is refused.
    restored = Restored(step=3, state=_state(), info=info, metrics={})
    _followed(recorded(restored.info))
    hooks = _hooks()
    moment = first_moment(_experiment(), _program(), restored, hooks, Reporter(_experiment(), None, quiet=True))
    for hook in hooks:
        hook(moment._replace(results={"test/loss": 0.5}, metrics=moment.metrics or _metrics()))


@functools.cache
def _state() -> TrainState:
    return _program().initial_state()


def _hooks() -> tuple[Log, EarlyStopping]:
    return Log(4, lambda step, values: None, last=STEPS), EarlyStopping("test/loss", mode="min")


@functools.cache
def _metrics() -> Metrics:
    """Those of a step."""
    program = _program()
    _, shapes = jax.eval_shape(assemble(_experiment()).step, program.state, program.sample)
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)


def run_info_seeds() -> tuple[bytes, ...]:
    hooks = {**remembered(_hooks()), "0-Log": {"window": to_plain(_metrics())}}
    whole = {
        "hooks": hooks,
        "rollbacks": _rolled_back(),
        **facts(Moment(step=3, state=_state(), metrics={}, results={"test/loss": 0.25})),
    }
    cut = {**whole, "stopped": "enough", "unfinished": to_plain(_metrics())}
    odd = {**whole, "hooks": {**hooks, "1-EarlyStopping": {"best": float("nan"), "bad": 2}}}
    return tuple(json.dumps(pack(one)).encode() for one in (whole, cut, odd))


def convert_config(data: bytes) -> None:
    """The `config.json` that `--like` takes for what is converted, and the layout that follows from it."""
    options = argparse.Namespace(layout=None)
    convert._layout_of(options, convert._json(Path(written("like/config.json", data))), MLP(num_classes=2, widths=()))


def convert_config_seeds() -> tuple[bytes, ...]:
    return (b'{"model_type": "bert", "hidden_size": 8}', b'{"model_type": "vit"}', b'{"other": [1]}')
