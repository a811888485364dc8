"""Kills and I/O errors in the midst of saving: whatever is listed afterwards must restore, bit for bit."""

import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxdl.checkpoint import BestOf, Checkpoints

HERE = Path(__file__).parent
COUNT, KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_FROM = range(1, 7)


def load_make_state():
    spec = importlib.util.spec_from_file_location("crash_child", HERE / "crash_child.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_state


make_state = load_make_state()


class Forks:
    """A process that forks a child for every command."""

    def __init__(self, preload=None):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "crash_child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert "ready" in self.read()

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the forking process ended"
        return json.loads(line)

    def start(self, directory, *, keep=1, fault=(), count=1, wait=True, again=False, replace=False):
        command = {
            "directory": str(directory),
            "keep": keep,
            "fault": fault,
            "count": count,
            "wait": wait,
            "again": again,
            "replace": replace,
        }
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.read()["pid"]

    def run(self, directory, **options):
        """The last message of the child, or {} when it died, and its exit status."""
        self.start(directory, **options)
        told = {}
        while "status" not in (message := self.read()):
            told = message
        return (told if "calls" in told else {}), message["status"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to build the fault injector with")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    forks = Forks(library)
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def forks():
    forks = Forks()
    yield forks
    forks.close()


def check_directory(directory, *, keep=1):
    """Every listed step restores exactly, and the next run can save; returns the newest step that was there."""
    with Checkpoints(directory, keep=keep, best=BestOf(metric="score")) as checkpoints:
        steps = checkpoints.steps()
        for step in steps:
            restored = checkpoints.restore(make_state(0), step=step)
            assert restored.info == {"step": step}
            expected = make_state(step)
            assert np.array_equal(restored.state["w"], expected["w"])
            assert np.array_equal(restored.state["opt"]["mu"], expected["opt"]["mu"])
            assert restored.state["opt"]["count"] == step
        newest = checkpoints.restore(make_state(0))
        assert newest.skipped == ()
        checkpoints.save(newest.step + 1, make_state(newest.step + 1), {"step": newest.step + 1}, wait=True)
        assert checkpoints.newest() == newest.step + 1
    assert all(name.isdigit() for name in os.listdir(directory)), os.listdir(directory)
    return newest.step


def kill_at_random(forks, directory, kills, seed):
    choose = random.Random(seed)
    directory.mkdir()
    newest = 0
    for _ in range(kills):
        pid = forks.start(directory, count=1000, keep=2, wait=choose.random() < 0.5)
        told = newest
        for _ in range(choose.randint(0, 3)):
            told = forks.read()["step"]
        time.sleep(choose.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        while "status" not in (message := forks.read()):
            told = message["step"]
        assert message["status"] == -signal.SIGKILL
        if newest or any(name.isdigit() for name in os.listdir(directory)):
            newest = check_directory(directory, keep=2) + 1
            assert newest >= told  # at most the one save in flight is lost


def test_killed_at_random_moments(forks, tmp_path):
    kill_at_random(forks, tmp_path / "c", 8, seed=0)


@pytest.mark.slow
def test_killed_at_random_moments_many_times(forks, tmp_path):
    kill_at_random(forks, tmp_path / "c", 200, seed=1)


def make_base(faulty, tmp_path, *, replace=False):
    """Three saved steps, of which the next save with keep=1 deletes one; and how many calls that save makes."""
    base = tmp_path / "base"
    faulty.run(base, keep=2, count=3)
    assert sorted(os.listdir(base)) == ["00000001", "00000002", "00000003"]  # two newest and the best
    shutil.copytree(base, tmp_path / "counted")
    told, status = faulty.run(tmp_path / "counted", fault=(COUNT, 0, 0), replace=replace)
    assert status == 0
    assert told["steps"] == [1, 3 if replace else 4]
    return base, told["calls"]


def sweep_kills(faulty, tmp_path, kinds, stride, *, replace=False):
    base, calls = make_base(faulty, tmp_path, replace=replace)
    print(f"{calls} calls, {len(kinds)} kinds of kill, every {stride}")
    assert calls > 50
    outcomes = set()
    for kind in kinds:
        for call in range(1, calls + 1, stride):
            directory = tmp_path / "c"
            shutil.copytree(base, directory)
            told, status = faulty.run(directory, fault=(kind, call, 0), replace=replace)
            # Threads share the work, so that the number of calls varies by a few: the last points may come too late.
            assert status == -signal.SIGKILL or (told and call > calls - 15)
            outcomes.add(check_directory(directory))
            shutil.rmtree(directory)
    assert outcomes == ({3} if replace else {3, 4})


def test_killed_before_some_calls_of_a_save_with_rotation(faulty, tmp_path):
    sweep_kills(faulty, tmp_path, [KILL_BEFORE], stride=9)


def test_killed_before_some_calls_of_a_save_that_replaces_one(faulty, tmp_path):
    sweep_kills(faulty, tmp_path, [KILL_BEFORE], stride=9, replace=True)


@pytest.mark.slow
def test_killed_at_every_call_of_a_save_that_replaces_one(faulty, tmp_path):
    sweep_kills(faulty, tmp_path, [KILL_BEFORE, KILL_TORN, KILL_AFTER], stride=1, replace=True)


@pytest.mark.slow
def test_killed_at_every_call_of_a_save_with_rotation(faulty, tmp_path):
    sweep_kills(faulty, tmp_path, [KILL_BEFORE, KILL_TORN, KILL_AFTER], stride=1)


def sweep_errors(faulty, tmp_path, faults, stride, *, replace=False):
    base, calls = make_base(faulty, tmp_path, replace=replace)
    failed = 0
    for kind, code in faults:
        for call in range(1, calls + 1, stride):
            directory = tmp_path / "c"
            shutil.copytree(base, directory)
            told, status = faulty.run(directory, fault=(kind, call, code), again=True, replace=replace)
            assert status == 0
            failing = any("could not be saved" in error for error in told["errors"])
            newest = told["steps"][-1]
            # Where nothing can be renamed any more between the two names, the next to open puts the old one back.
            if (newest, kind, replace) == (2, FAIL_FROM, True):
                assert (directory / "replaced-00000003" / "manifest.json").is_file()
            else:
                assert newest == (3 if failing or replace else 4)
            for error in told["errors"]:
                assert str(directory) in error
                assert "untouched" in error or "nothing is lost" in error
                assert code != errno.ENOSPC or "disk is full" in error
            assert told["again"][-1] == told["last"]
            failed += bool(told["errors"])
            assert check_directory(directory) == told["last"]
            shutil.rmtree(directory)
    assert failed


def test_a_full_disk_at_some_calls(faulty, tmp_path):
    sweep_errors(faulty, tmp_path, [(FAIL_FROM, errno.ENOSPC)], stride=11)


@pytest.mark.slow
@pytest.mark.parametrize("replace", [False, True])
def test_errors_at_every_call(faulty, tmp_path, replace):
    kinds = [(FAIL_FROM, errno.ENOSPC), (FAIL_ONCE, errno.ENOSPC), (FAIL_ONCE, errno.EIO), (FAIL_FROM, errno.EROFS)]
    sweep_errors(faulty, tmp_path, kinds, stride=1, replace=replace)
