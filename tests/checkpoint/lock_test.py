import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import jaxdl.checkpoint.lock
from jaxdl.checkpoint.lock import LOCK_NAME, lock_workdir
from jaxdl.errors import WorkdirError

HOLD = """
import sys
from jaxdl.checkpoint.lock import lock_workdir
lock = lock_workdir(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
FORK = HOLD.replace('print("held", flush=True)', "import os; print(os.fork() or 0, flush=True)")


def hold(folder, code=HOLD):
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    line = child.stdout.readline()
    return child, line


def end(child):
    child.stdin.close()
    child.wait()
    child.stdout.close()


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    child, line = hold(tmp_path / "runs" / "x")
    assert line == "held\n"
    with pytest.raises(WorkdirError, match=rf"in use by process {child.pid} on .* since .*--force-lock") as error:
        lock_workdir(tmp_path / "runs" / "x")
    assert error.value.exit_code == 74
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (tmp_path / "runs" / "x" / LOCK_NAME).exists()
    with lock_workdir(tmp_path / "runs" / "x") as lock:
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path / "runs" / "x") == []
    end(child)


def test_force_takes_the_folder_and_the_loser_does_not_take_it_back(tmp_path):
    first = lock_workdir(tmp_path)
    second = lock_workdir(tmp_path, force=True)
    first.release()
    with pytest.raises(WorkdirError):
        lock_workdir(tmp_path)
    second.release()
    lock_workdir(tmp_path).release()
    second.release()


def test_a_child_that_outlives_the_run_is_named(tmp_path):
    child, line = hold(tmp_path, FORK)
    orphan = int(line) or int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(WorkdirError, match="that process is gone, but a child of it still runs"):
        lock_workdir(tmp_path)
    with contextlib.suppress(ProcessLookupError):
        os.kill(orphan, signal.SIGKILL)
    end(child)


def test_an_owner_that_has_not_yet_said_who_it_is_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxdl.checkpoint.lock, "NAMING", 60.0)
    gone = {"pid": 2**31 - 1, "host": socket.gethostname(), "started": "", "since": "then", "command": "before"}
    owner = json.dumps({**gone, "pid": os.getpid(), "command": "jaxdl train"})
    for content in ("", json.dumps(gone)):
        with open(tmp_path / LOCK_NAME, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(content)
            file.flush()
            saying = threading.Timer(0.2, lambda: (tmp_path / LOCK_NAME).write_text(owner))
            saying.start()
            with pytest.raises(WorkdirError, match=rf"by process {os.getpid()} on .* \(jaxdl train\)\. Wait"):
                lock_workdir(tmp_path)
            saying.join()


@pytest.mark.parametrize("content", ["", "not json", "[1]", '{"pid": "x"}'])
def test_an_unreadable_lock_file_that_nobody_holds_is_taken(tmp_path, content):
    (tmp_path / LOCK_NAME).write_text(content)
    lock_workdir(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match=r"Cannot write in .*file/x: Not a directory \(as user \d+\)"):
        lock_workdir(tmp_path / "file" / "x")


def test_exactly_one_of_many_gets_it(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    held = [child.stdout.readline() for child in children]
    assert sorted(held) == ["", "", "held\n"]
    for child in children:
        end(child)
