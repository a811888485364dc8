"""Several real processes of one machine, which train together."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxdl.cli import main

CONFIG = "configs/vision/digits_mlp.py"
TRAIN = ["train", "--config", CONFIG, "--config.log_every=10", "--config.tensorboard=false"]


def start(words, root, **more):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    for name in ("XLA_FLAGS", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "jaxdl", *words]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def finish(process, seconds=400):
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out


def losses(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_one_goes_on_from_their_checkpoint(tmp_path, request):
    root = request.config.rootpath
    flags = ["--config.steps=200", "--config.steps_per_dispatch=1", "--config.saving.every=20"]
    both = ["launch", "local", "--processes", "2", *TRAIN, "--workdir", str(tmp_path / "two"), *flags]
    code, out = finish(start(both, root))
    assert code == 0, out
    assert out.count("Compiled the step") == 1, "the second process is quiet"
    code, one = finish(start([*TRAIN, "--workdir", str(tmp_path / "one"), *flags], root))
    assert code == 0, one
    two, one = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert list(two) == list(one) == list(range(10, 201, 10))
    assert two == pytest.approx(one, rel=1e-4)
    longer = [*TRAIN, "--workdir", str(tmp_path / "two"), "--config.steps=240", "--allow-changes"]
    code, out = finish(start(longer, root))
    assert code == 0, out
    assert "Resumed from step 200 (verified)." in out
    assert list(losses(tmp_path / "two")) == list(range(10, 241, 10))


@pytest.mark.slow
def test_a_signal_stops_all_at_one_step_and_the_same_command_goes_on(tmp_path, request):
    workdir = tmp_path / "run"
    flags = ["--config.steps=100000", "--config.steps_per_dispatch=1", "--config.saving.every=100000"]
    words = ["launch", "local", "--processes", "2", *TRAIN, "--workdir", str(workdir), *flags]
    process = start(words, request.config.rootpath, process_group=0)
    wait_for(lambda: (workdir / "metrics.jsonl").exists() and len(losses(workdir)) > 3, process)
    os.killpg(process.pid, signal.SIGINT)  # As Ctrl-C does.
    code, out = finish(process)
    assert code == 75, out
    steps = [int(path.name) for path in (workdir / "checkpoints").glob("0*")]
    assert len(steps) == 1
    again = start(words, request.config.rootpath)
    wait_for(lambda: max(losses(workdir)) > steps[0] + 20, again)
    again.send_signal(signal.SIGTERM)
    code, out = finish(again)
    assert code == 75
    assert f"Resumed from step {steps[0]} (verified)." in out
    assert list(losses(workdir)) == sorted(losses(workdir)), "each step once"


@pytest.mark.slow
def test_when_one_is_killed_the_others_do_not_wait_for_ever(tmp_path, request):
    workdir = tmp_path / "run"
    flags = ["--config.steps=100000", "--config.steps_per_dispatch=1"]
    words = ["launch", "local", "--processes", "2", *TRAIN, "--workdir", str(workdir), *flags]
    process = start(words, request.config.rootpath)
    wait_for(lambda: (workdir / "metrics.jsonl").exists() and losses(workdir), process)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[1]), signal.SIGKILL)
    began = time.monotonic()
    code, _ = finish(process, 180)
    assert code != 0
    assert time.monotonic() - began < 120
    left = subprocess.run(["pgrep", "-f", str(workdir)], capture_output=True, text=True, check=False)
    assert not left.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("hung", [0, 1])
def test_when_one_hangs_all_are_ended_and_it_is_named(hung, tmp_path, request):
    workdir = tmp_path / "run"
    flags = ["--config.steps=100000", "--config.steps_per_dispatch=1", "--heartbeat-seconds", "10"]
    words = ["launch", "local", "--processes", "2", *TRAIN, "--workdir", str(workdir), *flags]
    process = start(words, request.config.rootpath)
    wait_for(lambda: (workdir / "metrics.jsonl").exists() and losses(workdir), process)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[hung]), signal.SIGSTOP)
    began = time.monotonic()
    code, out = finish(process, 120)
    assert time.monotonic() - began < 10 + 30
    assert code == 128 + signal.SIGABRT
    assert f"jaxdl launch: process {hung} does not answer; all were ended. Run the same command again to go on." in out
    assert "Check failure stack trace" not in out
    left = subprocess.run(["pgrep", "-f", str(workdir)], capture_output=True, text=True, check=False)
    assert not left.stdout.strip()


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(tmp_path, request):
    words = ["launch", "local", "--processes", "2", *TRAIN, "--workdir", str(tmp_path), "--config.steps=100000"]
    process = start([*words, "--config.steps_per_dispatch=1"], request.config.rootpath)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert finish(process, 10)[0] in (75, 128 + signal.SIGKILL)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert not left.stdout.strip()


def wait_for(condition, process, seconds=300):
    """Until it holds; the process must live meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)


def test_a_dry_run_prints_the_commands(capsys):
    assert main(["launch", "local", "--processes", "2", "--dry-run", *TRAIN, "--workdir", "my run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"jaxdl train --config {CONFIG} --workdir 'my run' --config.log_every=10 ")
    assert first.endswith("--processes 2 --process 0")
    assert second == first[:-1] + "1"
    assert "--coordinator 127.0.0.1:" in first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch", "local", "--processes", "2"], "Say what to launch"),
        ([*TRAIN, "--workdir", "w", "--processes", "2"], "--coordinator HOST:PORT, --processes N and --process I"),
        ([*TRAIN, "--workdir", "w", "--distributed", "--process", "0"], "leave out --coordinator"),
        ([*TRAIN, "--workdir", "w", "--distributed"], "--distributed found no TPU pod, SLURM step"),
        (["launch", "local", "--processes", "2", *TRAIN, "--workdir", "w", "--process", "0"], "the launcher adds them"),
        (["launch", "local", "--processes", "2", *TRAIN, "--workdir", "a\nb"], "'a\\nb' has control characters"),
        (
            [*TRAIN, "--workdir", "w", "--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "2"],
            "from 0 to 1, not 2",
        ),
        (
            [*TRAIN, "--workdir", "w", "--coordinator", "here", "--processes", "2", "--process", "0"],
            "must be HOST:PORT, not 'here'",
        ),
        (
            [
                *TRAIN,
                "--workdir",
                "w",
                "--coordinator",
                "no.such.host.invalid:1",
                "--processes",
                "2",
                "--process",
                "0",
                "--join-seconds",
                "1",
            ],
            "has no address",
        ),
    ],
)
def test_flags_that_do_not_fit(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err
