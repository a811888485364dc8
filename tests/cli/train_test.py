import json
import os
import subprocess
import sys

import pytest

from jaxdl.train.writers import read_rows


def test_a_run_can_be_read_without_the_command(run):
    record = {name: (run / name).read_text() for name in ("config.json", "config.txt", "provenance.json", "run.json")}
    assert json.loads(record["config.json"])["config"]["steps"] == 120
    assert "small.py:" in record["config.txt"]
    assert "jax" in record["provenance.json"]
    assert json.loads((run / "summary.json").read_text())["results"]["test/accuracy"] > 0.85


def test_it_tells_what_came_out(jaxdl, config, tmp_path):
    code, out, err = jaxdl("train", "--config", config, "--workdir", tmp_path, "--config.steps=3")
    assert code == 0
    assert "test/accuracy 0." in out
    assert "train_set/loss" in out
    assert "Predict with: jaxdl predict IMAGE" in err
    code, out, err = jaxdl("train", "--config", config, "--workdir", tmp_path, "--config.steps=3")
    assert code == 0
    assert "Nothing is left to train: step 3 of 3 is reached." in err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--config.mesh.data=3",), 2, "does not use 8 devices exactly"),
        (("--config.train.batch_size=60",), 2, "train: a batch of 60 does not split over 8 devices"),
        (("--config.train.batch_size=2000",), 2, "A batch of 2000 is larger than the training data"),
        (("--config.saving.best=test/acc",), 2, "saving.best is 'test/acc'"),
        (("--config.evals.test.every=0",), 2, "evals.test"),
        (("--config.train.on_bad=skip", "--config.resident=True"), 2, "resident=True needs"),
        (("--config.task.num_classes=5",), 65, "digits train, example"),
        (("--config.optimizer.learning_rate=1e30", "--config.nonfinite_limit=3"), 70, "NaN or infinite"),
    ],
)
def test_each_failure_is_one_message_and_its_exit_code(jaxdl, config, tmp_path, flags, code, message):
    found, out, err = jaxdl("train", "--quiet", "--config", config, "--workdir", tmp_path, *flags)
    assert (found, out) == (code, "")
    assert message in err
    assert err.startswith("jaxdl train: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["file", "file/below", "loop", "x" * 300])
def test_a_run_folder_that_cannot_be_used_is_74(jaxdl, config, tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    code, _, err = jaxdl("train", "--quiet", "--config", config, "--workdir", tmp_path / name)
    assert code == 74
    assert f"The run folder {tmp_path / name} cannot be " in err
    assert f"by user {os.getuid()}" in err


def test_a_run_folder_below_one_of_others_is_74(config, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o000)
    workdir = tmp_path / "theirs" / "run"
    caps = "-dac_override,-dac_read_search,-fowner"
    under = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if os.geteuid() == 0 else []
    command = [*under, sys.executable, "-m", "jaxdl", "train", "--config", str(config), "--workdir", str(workdir)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError:
        pytest.skip("root may look everywhere, and there is no setpriv")
    assert done.returncode == 74, done.stderr
    assert done.stderr.startswith(f"jaxdl train: The run folder {workdir} cannot be read by user {os.getuid()}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["train", "replay"])
def test_a_damaged_config_of_a_run_is_named(jaxdl, config, tmp_path, verb):
    (tmp_path / "checkpoints" / "00000002").mkdir(parents=True)
    flags = ("--quiet", "--config", config) if verb == "train" else ("--step", "1")
    for data, message in ((b"\xff{}", "utf-8"), (b"{", "not JSON"), (b"[" * 100_000, "nested"), (b"{}", "no version")):
        (tmp_path / "config.json").write_bytes(data)
        code, _, err = jaxdl(verb, *flags, "--workdir", tmp_path)
        assert code == 2
        assert err.startswith(f"jaxdl {verb}: {tmp_path / 'config.json'}: ")
        assert message in err


def test_another_config_is_refused_but_what_only_watches_may_change(jaxdl, config, tmp_path):
    train = ("train", "--quiet", "--config", config, "--workdir", tmp_path)
    assert jaxdl(*train, "--config.steps=2")[0] == 0
    code, _, err = jaxdl(*train, "--config.steps=2", "--config.seed=1")
    assert code == 2
    assert "seed: 0 -> 1" in err
    assert jaxdl(*train, "--config.steps=4", "--config.log_every=1", "--config.hooks=()")[0] == 0
    assert jaxdl(*train, "--config.steps=5", "--config.seed=1", "--allow-changes")[0] == 0
    assert json.loads((tmp_path / "config.json").read_text())["config"]["seed"] == 1


@pytest.mark.parametrize("name", ["10000000", "123456789", "replaced-00000002"])
def test_another_config_is_refused_whatever_the_step_and_after_a_kill_too(jaxdl, config, run, tmp_path, name):
    (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    code, _, err = jaxdl("train", "--quiet", "--config", config, "--workdir", tmp_path, "--config.seed=1")
    assert code == 2
    assert "seed: 0 -> 1" in err
    assert json.loads((tmp_path / "config.json").read_text())["config"]["seed"] == 0


def test_a_saved_config_trains_again_to_the_same_numbers(jaxdl, run, tmp_path):
    code, _, err = jaxdl("train", "--quiet", "--config", run / "config.json", "--workdir", tmp_path)
    assert (code, err) == (0, "")
    rows = [[row["loss"] for row in read_rows(folder / "metrics.jsonl")] for folder in (run, tmp_path)]
    assert rows[0] == rows[1]


def test_virtual_devices_in_a_process_of_their_own(config, tmp_path):
    command = [sys.executable, "-m", "jaxdl", "train", "--config", str(config), "--config.steps=3"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    environment.pop("JAX_PLATFORMS", None)
    done = subprocess.run(
        [*command, "--workdir", "relative", "--cpu-devices", "4", "--config.mesh.fsdp=2"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 4 cpu devices (data 2 x fsdp 2)" in done.stderr
    assert len(json.loads((tmp_path / "relative" / "run.json").read_text())["devices"]) == 4
