"""The power is cut in and after saves: what was told to be saved is there afterwards, bit for bit.

A file system of its own is shut down under a process that saves, by the ioctl that ext4 has for such tests: nothing
that is still in memory reaches the disk, or nothing but the journal. Then it is mounted anew.
"""

import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdl.checkpoint import BestOf, Checkpoints
from jaxdl.checkpoint.restore import committed_steps
from jaxdl.train.writers import read_rows

HERE = Path(__file__).parent
SHUTDOWN = 0x8004587D
JOURNAL_FLUSHED, NOTHING_FLUSHED = 1, 2
CHILD = """
import fcntl, json, os, struct, sys, threading, time
sys.path.insert(0, {here!r})
from crash_child import make_state
from jaxdl.checkpoint import BestOf, Checkpoints

mount, flag, first, point, delay = {mount!r}, {flag}, {first}, {point!r}, {delay}

def cut():
    descriptor = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(descriptor, {shutdown}, struct.pack("I", flag))
    os._exit(0)

def tell(step):
    os.write(1, (json.dumps(step) + "\\n").encode())

checkpoints = Checkpoints(mount + "/c", keep=2, best=BestOf(metric="score"))
newest = checkpoints.newest()
tell(["found", newest])
for step in range(first, first + 2):
    checkpoints.save(step, make_state(step), {{"step": step}}, metrics={{"score": -float(step)}}, wait=True)
    tell(["saved", step])
if point == "after":
    time.sleep(delay)
    cut()
threading.Timer(delay, cut).start()
for step in range(first + 2, first + 60):
    wait = point == "waiting"
    checkpoints.save(step, make_state(step), {{"step": step}}, metrics={{"score": -float(step)}}, wait=wait)
    if point == "waiting":
        tell(["saved", step])
time.sleep(60)
"""


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """An ext4 of its own: `(image, mount point)`."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs root, loop devices and mkfs.ext4")
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * 2**20)
    assert run("mkfs.ext4", "-q", "-F", image).returncode == 0
    tried = run("mount", "-o", "loop", image, mount)
    if tried.returncode:
        pytest.skip(f"a loop device cannot be mounted: {tried.stderr}")
    yield image, mount
    run("umount", mount)


def cut_once(mount, flag, first, point, delay):
    """What the child told before the power was cut: the steps that were saved."""
    code = CHILD.format(
        here=str(HERE), mount=str(mount), flag=flag, first=first, point=point, delay=delay, shutdown=SHUTDOWN
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0][0] == "found"
    return told[0][1], [step for what, step in told[1:]]


def check(mount, saved):
    """Everything that is listed restores bit for bit, and the newest is at least the newest that was told."""
    sys.path.insert(0, str(HERE))
    from crash_child import make_state

    with Checkpoints(mount / "c", keep=2, best=BestOf(metric="score")) as checkpoints:
        steps = checkpoints.steps()
        for step in steps:
            restored = checkpoints.restore(make_state(0), step=step)
            assert restored.info == {"step": step}
            for one, other in ((restored.state["w"], make_state(step)["w"]), (restored.state["opt"]["count"], step)):
                assert np.array_equal(one, other)
        newest = checkpoints.restore(make_state(0))
        assert newest.skipped == (), newest.skipped
        assert newest.step >= max(saved), (newest.step, saved)
    assert all(name.isdigit() for name in os.listdir(mount / "c")), os.listdir(mount / "c")
    return newest.step


@pytest.mark.slow
@pytest.mark.parametrize("flag", [JOURNAL_FLUSHED, NOTHING_FLUSHED], ids=["journal_flushed", "nothing_flushed"])
def test_what_was_saved_outlives_a_power_cut(disk, flag):
    image, mount = disk
    choose = random.Random(flag)
    newest, cuts = 0, 0
    for point in ["after", "waiting", "background"] * int(os.environ.get("JAXDL_POWER_CUTS", "4")):
        delay = 0 if point == "after" else choose.uniform(0, 0.5)
        found, saved = cut_once(mount, flag, newest + 1, point, delay)
        assert found == (newest or None)
        assert run("umount", mount).returncode == 0
        again = run("mount", "-o", "loop", image, mount)
        assert again.returncode == 0, again.stderr
        newest, cuts = check(mount, saved), cuts + 1
    print(f"{cuts} cuts, {newest} steps")


TRAINING = """
import fcntl, os, struct, sys
from jaxdl.checkpoint import Checkpoints
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Experiment, Saving, train

folder, flag, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def cut(moment):
    if moment.step == last:
        while Checkpoints(folder + "/checkpoints", read_only=True).newest() != last - 3:
            pass
        os.write(1, b"saved")
        descriptor = os.open(os.path.dirname(folder), os.O_RDONLY)
        fcntl.ioctl(descriptor, {shutdown}, struct.pack("I", flag))
        os._exit(0)

train(Experiment(
    steps=1000, log_every=1, steps_per_dispatch=1, tensorboard=False, saving=Saving(every=20), hooks=(cut,),
    model=MLP(num_classes=10, widths=(8,)), task=Classification(num_classes=10), optimizer=optimizer(rule=adam()),
    train=Pipeline(source=digits(split="train"), batch_size=16),
), folder, quiet=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("flag", [JOURNAL_FLUSHED, NOTHING_FLUSHED], ids=["journal_flushed", "nothing_flushed"])
def test_the_log_up_to_a_checkpoint_outlives_a_power_cut(disk, flag):
    image, mount = disk
    for last in (43, 83):  # From nothing, and from the checkpoint of the cut before.
        code = TRAINING.format(shutdown=SHUTDOWN)
        words = [sys.executable, "-W", "ignore", "-c", code, mount / "run", flag, last]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        done = subprocess.run(
            [str(word) for word in words], env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, "saved"), done.stderr
        assert run("umount", mount).returncode == 0
        assert run("mount", "-o", "loop", image, mount).returncode == 0
        newest = committed_steps(mount / "run" / "checkpoints")[-1]
        assert newest == last - 3
        steps = [row["step"] for row in read_rows(mount / "run" / "metrics.jsonl")]
        assert steps[:newest] == list(range(1, newest + 1))
        assert (mount / "run" / "run.json").stat().st_size > 0


@pytest.mark.slow
def test_the_cut_is_one(disk):
    """Without a flush to the disk a file is lost: otherwise the test above would prove nothing."""
    image, mount = disk
    (mount / "flushed").write_bytes(b"x" * 5000)
    os.sync()
    (mount / "unflushed").write_bytes(b"x" * 5000)
    descriptor = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NOTHING_FLUSHED))
    os.close(descriptor)
    assert run("umount", mount).returncode == 0
    assert run("mount", "-o", "loop", image, mount).returncode == 0
    assert (mount / "flushed").read_bytes() == b"x" * 5000
    assert not (mount / "unflushed").exists() or (mount / "unflushed").read_bytes() != b"x" * 5000
