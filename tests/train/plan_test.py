"""Plans: sizes and communication of steps whose sizes and communication are known."""

import json
import os
import subprocess
import sys

import pytest

from jaxdl.cli import main
from jaxdl.errors import ConfigError
from jaxdl.learners import Precision
from jaxdl.models import MLP
from jaxdl.train.chips import CHIPS
from jaxdl.train.plan import plan

ALONE = {**os.environ, "XLA_FLAGS": ""}
WEIGHTS = 4 * (64 * 16 + 16 + 16 * 10 + 10)


def test_data_parallelism_holds_everything_and_reduces_the_gradients(experiment):
    found = plan(experiment(model=MLP(num_classes=10, widths=(16,))))
    assert found.devices == 8
    assert found.count * 4 == WEIGHTS == found.parameters == found.gradients
    assert 2 * WEIGHTS <= found.optimizer <= 2 * WEIGHTS + 200  # Two moments, counts and a key.
    assert found.batch == 64 * (64 + 4 + 4) // 8
    forward = 2 * 64 * (64 * 16 + 16 * 10)
    assert found.flops == 2 * forward + 2 * 64 * 16 * 10
    reduced = sum(one.bytes for one in found.collectives if one.kind == "all-reduce")
    assert WEIGHTS <= reduced <= WEIGHTS + 200  # And the metrics.
    assert all(one.devices == 8 for one in found.collectives)


def test_full_sharding_holds_a_share(experiment):
    whole = plan(experiment(model=MLP(num_classes=10, widths=(16,))))
    split = plan(experiment(model=MLP(num_classes=10, widths=(16,)), mesh={"fsdp": 8}))
    assert split.parameters < whole.parameters / 6
    assert split.optimizer < whole.optimizer / 6
    assert any(one.kind == "all-gather" for one in split.collectives)


def test_what_fits_and_how_long_it_takes(experiment):
    found = plan(experiment(model=MLP(num_classes=10, widths=(16,)), mesh={"data": 8}))
    chip = CHIPS["h100"]
    assert found.fits(chip)
    assert found.compute_seconds(chip) == pytest.approx(found.flops / 8 / 494.5e12)
    assert found.link_seconds(chip) == pytest.approx(sum(one.sent for one in found.collectives) / 450e9)
    assert all(chip.peak("bfloat16") > 1e14 and chip.memory > 1e10 for chip in CHIPS.values())


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_what_no_chip_has_a_peak_for_is_refused_before_it_is_compiled(experiment, monkeypatch, dtype):
    monkeypatch.setattr("jaxdl.train.plan.shard", None)
    with pytest.raises(ConfigError, match=f"in {dtype} is not known.*set precision.compute to float32"):
        plan(experiment(precision=Precision(compute=dtype)))


def test_json_has_the_parameters_where_they_are_asked_for(capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    flags = ["plan", "--config=configs/vision/digits_mlp.py", "--config.mesh={fsdp: 8}", "--json", "--chip=v5e"]
    assert main([*flags, "--parameters", "--config.frozen=('head/.*',)"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["each_parameter"]}
    assert sum(row["count"] for row in rows.values()) == found["count"]
    assert "fsdp" in rows["hidden_0/kernel"]["sharding"]
    assert (rows["head/kernel"]["trainable"], rows["hidden_0/kernel"]["trainable"]) == (False, True)
    assert main(flags) == 0
    assert "each_parameter" not in json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_command(capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    flags = ["--config", "configs/vision/digits_mlp.py", "--config.mesh={fsdp: 8}"]
    assert main(["plan", *flags, "--parameters", "--chip", "v5e"]) == 0
    out = capsys.readouterr().out
    assert "8 devices: fsdp 8" in out
    assert "all-gather" in out
    assert "h100" not in out
    assert "head/kernel" in out
    assert main(["plan", *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mesh"]["fsdp"] == 8
    assert set(found["chips"]) == set(CHIPS)
    assert main(["plan", *flags, "--chip", "abacus"]) == 2
    assert "The chips are a100" in capsys.readouterr().err


@pytest.mark.slow
def test_more_devices_than_a_process_has(tmp_path, request):
    source = "jaxdl.data.sources:Synthetic(count=5000, fields={image: {image}, label: {label}})"
    image = "jaxdl.data.sources.synthetic:Field(dtype=uint8, shape=(8, 8, 1))"
    label = "jaxdl.data.sources.synthetic:Field(dtype=int32, high=10)"
    flags = ["--config=configs/vision/digits_mlp.py", "--devices=2560", "--config.train.batch_size=2560", "--json"]
    flags.append(f"--config.train.source={source.replace('{image}', image).replace('{label}', label)}")
    command = [sys.executable, "-m", "jaxdl", "plan", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath, timeout=500, env=ALONE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mesh"]["data"] == 2560
    assert {one["devices"] for one in found["collectives"]} == {2560}
