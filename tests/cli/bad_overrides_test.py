"""Over 150 wrong settings on the command line: each is refused before anything is made, all in one message."""

import pytest

from jaxdl import config as configs
from jaxdl.config import flatten
from jaxdl.errors import ConfigError
from jaxdl.train import Experiment

CONFIG = "configs/vision/digits_mlp.py"
OUT_OF_RANGE = [
    *("steps=0", "steps=-5", "train.batch_size=0", "train.batch_size=-1", "train.seed=-1", "train.threads=0"),
    *("train.processes=-1", "train.on_bad=ignore", "train.on_bad=skp", "log_every=0", "microbatches=-2"),
    *("saving.every=0", "saving.keep=0", "saving.mode=best", "ema_decay=1.5", "ema_decay=-0.1"),
    *("evals.test.every=0", "evals.test.data.batch_size=0", "task.num_classes=0", "task.label_smoothing=2.0"),
    *("task.label_smoothing=-1.0", "optimizer.weight_decay=-0.1", "optimizer.clip_norm=-1.0", "steps_per_dispatch=0"),
    *("mapping=pmapp", "remat=everything", "nonfinite_limit=0", "mesh.data=0"),
    *("model.dropout_rate=-0.5", "model.dropout_rate=1.0", "model.dropout_rate=50.0"),
]  # fmt: skip


@pytest.fixture(scope="module")
def config(request):
    return configs.load(str(request.config.rootpath / CONFIG))


def wrong(config):
    """Settings that are wrong, made from the keys that there are."""
    settings = []
    for leaf in flatten(config):
        if leaf.key.endswith("call") or leaf.value is None:
            continue
        settings += [f"{leaf.key}x=1", f"{leaf.key}.more=1", f"{leaf.key}=nan", f"{leaf.key}=(", f"{leaf.key}={{a: 1}}"]
    settings += [
        "models.width=3",
        "model.call=3",
        "model=jaxdl.models:MLQ",
        "task=os:system",
        "optimizer.rule=jaxdl.optim:adan",
    ]
    # A string may be anything; what a name means shows when it is made.
    return [
        one
        for one in settings
        if not one.partition("=")[0].endswith((".split", ".best", "path")) or "=" not in one[-4:]
    ]


def refused(jaxdl, tmp_path, *settings):
    code, _, errors = jaxdl(
        "train", "--config", CONFIG, "--workdir", tmp_path / "w", *(f"--config.{s}" for s in settings)
    )
    assert code == 2, (settings, errors)
    assert "Traceback" not in errors
    return errors


@pytest.fixture(autouse=True)
def _here(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_each_of_many_wrong_settings_is_refused_by_its_key(config, tmp_path):
    settings = [one for one in wrong(config) if not is_text(config, one)]
    assert len(settings) >= 150
    for setting in settings:
        with pytest.raises(ConfigError) as caught:
            configs.check(configs.override(config, [setting]), Experiment)
        assert setting.partition("=")[0].split(".")[0] in str(caught.value)


def is_text(config, setting):
    """Whether the key holds a string, which takes any text."""
    held = {leaf.key: leaf.value for leaf in flatten(config)}
    key = setting.partition("=")[0]
    return key in held and isinstance(held[key], str)


def test_all_of_them_are_told_in_one_message(jaxdl, config, tmp_path):
    settings = [one for one in wrong(config) if not is_text(config, one)]
    first = {one.partition("=")[0]: one for one in settings}  # Each key once.
    errors = refused(jaxdl, tmp_path, *first.values())
    lines = errors.splitlines()
    assert len(first) >= 150
    assert len(lines) >= len(first) - 1  # The last one stands with the name of the command.
    assert not (tmp_path / "w").exists()
    for key in first:
        assert any(key in line for line in lines), key


@pytest.mark.parametrize("setting", OUT_OF_RANGE)
def test_values_out_of_range_are_refused_by_their_name(jaxdl, tmp_path, setting):
    key, _, value = setting.partition("=")
    errors = refused(jaxdl, tmp_path, setting)
    assert key.split(".")[-1] in errors or value in errors
