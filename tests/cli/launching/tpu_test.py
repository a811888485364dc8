"""Every worker of a TPU pod: one call of gcloud, whose words reach the shell there as they were."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from jaxdl.cli import main

TRAIN = ["train", "--config", "configs/vision/digits_mlp.py", "--workdir", '/mnt/it\'s $HOME "my" run']
TPU = ["launch", "tpu", "--name", "my-pod", "--zone", "us-central2-b"]


@pytest.fixture
def gcloud(tmp_path, monkeypatch):
    """A gcloud that writes down how it was called, and ends with the codes of a file, one a call, or with 2."""
    monkeypatch.setattr("jaxdl.cli.launching.tpu._PAUSE", 0)
    calls = tmp_path / "calls.json"
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "gcloud"
    command.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"with open({str(calls)!r}, 'w') as file:\n    json.dump(sys.argv[1:], file)\n"
        f"import pathlib\npath = pathlib.Path({str(tmp_path / 'codes')!r})\n"
        "first, *rest = path.read_text().split() if path.exists() else ['2']\n"
        "path.write_text(' '.join(rest or ['2']))\nsys.exit(int(first))\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return calls


def test_gcloud_is_asked_for_all_workers_and_its_code_is_kept(gcloud):
    assert main([*TPU, "--project", "mine", "--folder", "my code", *TRAIN]) == 2
    words = json.loads(gcloud.read_text())
    assert words[:5] == ["compute", "tpus", "tpu-vm", "ssh", "my-pod"]
    assert words[5:8] == ["--zone=us-central2-b", "--project=mine", "--worker=all"]
    assert len(words) == 9
    there = words[8].removeprefix("--command=")
    assert there == f"cd 'my code' && {shlex.join(['jaxdl', *TRAIN, '--distributed'])}"
    shown = there.removeprefix("cd 'my code' && ").replace("jaxdl", "printf '%s\\n'", 1)
    read = subprocess.run(["sh", "-c", shown], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == [*TRAIN, "--distributed"], "the words reach the shell there as they were"


def test_a_dry_run_prints_that_call_alone(gcloud, capsys):
    assert main([*TPU, "--program", "venv/bin/python -m jaxdl", "--dry-run", *TRAIN]) == 0
    assert not gcloud.exists()
    (line,) = capsys.readouterr().out.splitlines()
    subprocess.run(["bash", "-c", line], check=False)
    printed = json.loads(gcloud.read_text())
    assert main([*TPU, "--program", "venv/bin/python -m jaxdl", *TRAIN]) == 2
    assert json.loads(gcloud.read_text()) == printed
    assert printed[-1].startswith("--command=venv/bin/python -m jaxdl train --config ")


@pytest.mark.parametrize(
    ("codes", "flags", "code", "left"),
    [
        ("75 75 75 75 75 0 9", [], 0, "9"),  # Interrupted and saved: as often as need be.
        ("1 255 75 1 0 9", [], 0, "9"),
        ("1 255 1 1 9", [], 1, "9"),
        ("255 9", ["--max-restarts", "0"], 255, "9"),
        ("65 9", [], 65, "9"),
        ("70 9", [], 70, "9"),
    ],
)
def test_it_goes_on_where_that_can_help(gcloud, tmp_path, codes, flags, code, left):
    (tmp_path / "codes").write_text(codes)
    assert main([*TPU, *flags, *TRAIN]) == code
    assert (tmp_path / "codes").read_text() == left


def test_without_gcloud_there_is_a_hint(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*TPU, *TRAIN]) == 1
    assert "There is no gcloud on this machine. Run this where it is, or see what would be run with --dry-run" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--name", "My_Pod"], "--name 'My_Pod' is not possible: lower-case letters, digits and -"),
        (["--name", "-flag"], "--name"),
        (["--name", "a" * 64], "at most 63"),
        (["--zone", "us central"], "--zone 'us central' is not possible"),
        (["--project", "--quiet"], "--project"),
        (["--folder", "a\nb"], "control characters"),
    ],
)
def test_flags_that_gcloud_would_not_take(flags, message, capsys):
    words = [f"{flags[0]}={flags[1]}"]
    assert main([*TPU, *words, "--dry-run", *TRAIN]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
