"""Faults of the machine around a training run: what it says, and what is never lost."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdl.checkpoint import Checkpoints, restore_part
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.errors import CheckpointError, DataError, JaxdlError, WorkdirError
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer, sgd
from jaxdl.train import Evaluation, Saving, train
from jaxdl.train.writers import read_rows

CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Experiment, Saving

def get_config():
    return spec(
        Experiment, steps=20, log_every=5, steps_per_dispatch=1, tensorboard=False,
        model=spec(MLP, num_classes=10, widths=(16,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64), saving=spec(Saving, every=5),
    )
"""


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.params)]


def saved_bits(workdir, step=20):
    return [
        np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(restore_part(workdir / "checkpoints", step=step).state)
    ]


@pytest.fixture(scope="module")
def straight(experiment):
    """The parameters after 40 steps without any fault."""
    return bits(train(experiment(), quiet=True).state)


def mount(*words):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(map(str, words))}: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory of a given size; calling it again changes the size."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = []

    def make(options):
        mount("-t", "tmpfs", "-o", f"remount,{options}" if mounted else options, "tmpfs", folder)
        mounted.append(options)
        return folder

    yield make
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder, leave):
    """Leaves so many bytes free."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "filler").write_bytes(bytes(max(free - leave, 0)))


def fails(experiment, workdir, kinds, message):
    """Training ends in one of these errors, and every checkpoint that is listed restores."""
    with pytest.raises(kinds, match=message) as caught:
        train(experiment(saving=Saving(every=5)), workdir, quiet=True)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        steps = checkpoints.steps()
    for step in steps:
        restore_part(workdir / "checkpoints", ".*", step=step)
    assert not list((workdir / "checkpoints").glob("tmp-*")), "what was written of the failed one is gone"
    return caught.value, steps


# Orbax leaves writes behind that end when its event loop is closed.
leftovers = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leftovers
@pytest.mark.parametrize("leave", [2_000, 60_000])
def test_a_full_disk_ends_the_run_in_words_and_it_goes_on_once_there_is_room(experiment, small_disk, straight, leave):
    folder = small_disk("size=4m")
    workdir = folder / "run"
    train(experiment(steps=10, saving=Saving(every=5)), workdir, quiet=True)
    fill(folder, leave)
    error, steps = fails(experiment, workdir, (CheckpointError, WorkdirError, OSError), "disk is full|No space left")
    assert 10 in steps
    assert not isinstance(error, JaxdlError) or error.exit_code in (66, 74)
    (folder / "filler").unlink()
    assert bits(train(experiment(saving=Saving(every=5)), workdir, quiet=True).state) == straight
    rows = [row["step"] for row in read_rows(workdir / "metrics.jsonl") if row["kind"] == "train"]
    assert rows == sorted(set(rows))


@leftovers
def test_a_disk_without_inodes_is_a_full_disk(experiment, small_disk, straight):
    folder = small_disk("size=8m,nr_inodes=200")
    workdir = folder / "run"
    train(experiment(steps=10, saving=Saving(every=5)), workdir, quiet=True)
    for number in range(os.statvfs(folder).f_ffree - 5):
        (folder / str(number)).touch()
    _, steps = fails(experiment, workdir, (CheckpointError, WorkdirError), "disk is full|No space left")
    assert 10 in steps
    small_disk("nr_inodes=2000")
    assert bits(train(experiment(saving=Saving(every=5)), workdir, quiet=True).state) == straight


@pytest.fixture
def nothing_compiles(monkeypatch):
    """Fails the test where training gets as far as making its program."""

    def refuse(*arguments, **options):
        raise AssertionError("it was not refused before the program was made")

    monkeypatch.setattr("jaxdl.train.run.prepare", refuse)


def bad_workdirs(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "a device": Path("/dev/null"),
        "not for files": Path("/proc/run"),
        "a link to itself": tmp_path / "loop",
        "a name too long": tmp_path / ("x" * 300),
    }


@pytest.mark.usefixtures("nothing_compiles")
@pytest.mark.parametrize(
    "case", ["a file", "below a file", "a device", "not for files", "a link to itself", "a name too long"]
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_compiled(experiment, tmp_path, case):
    workdir, began = bad_workdirs(tmp_path)[case], time.monotonic()
    with pytest.raises(WorkdirError, match=r"cannot be written by user|Cannot write in") as caught:
        train(experiment(), workdir, quiet=True)
    assert time.monotonic() - began < 2
    assert str(workdir) in str(caught.value)
    assert str(os.getuid()) in str(caught.value)


@pytest.mark.usefixtures("nothing_compiles")
def test_a_read_only_file_system_is_refused_before_anything_is_compiled(experiment, tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir()
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        with pytest.raises(WorkdirError, match="Read-only file system"):
            train(experiment(), folder, quiet=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_of_others_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o555)
    code = f"from jaxdl.train.folder import open_run\nwith open_run({str(tmp_path / 'theirs')!r}): pass"
    caps = "-dac_override,-dac_read_search,-fowner"
    under = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run([*under, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("root may write everywhere, and there is no setpriv")
    assert "WorkdirError" in done.stderr, done.stderr
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("name", ["new\nline", "quo\"te's %s {}", "n" * 200])
def test_odd_names_of_run_folders(experiment, tmp_path, name):
    train(experiment(steps=1), tmp_path / name, quiet=True)
    assert train(experiment(steps=2), tmp_path / name, quiet=True).step == 2


def test_a_run_folder_behind_a_link(experiment, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    train(experiment(steps=1), tmp_path / "link", quiet=True)
    assert train(experiment(steps=2), tmp_path / "real", quiet=True).step == 2


OTHERS = {
    "a wider layer": ({"model": MLP(num_classes=10, widths=(17,))}, "shape  params/hidden_0/kernel"),
    "one more layer": ({"model": MLP(num_classes=10, widths=(16, 16))}, "missing"),
    "one layer less": ({"model": MLP(num_classes=10, widths=())}, "not used"),
    "another optimizer": ({"optimizer": optimizer(rule=sgd(momentum=0.9), learning_rate=5e-3)}, "opt_state"),
    "averaged parameters": ({"ema_decay": 0.9}, "extras/average"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(experiment, tmp_path, case):
    changes, named = OTHERS[case]
    train(experiment(steps=2), tmp_path, quiet=True)
    with pytest.raises(CheckpointError, match=r"does not fit this run \(\d+ differences\)") as caught:
        train(experiment(steps=4, **changes), tmp_path, quiet=True)
    assert named.split()[0] in str(caught.value)
    assert named.split()[-1] in str(caught.value)
    assert "The checkpoint was not changed" in str(caught.value)
    assert train(experiment(steps=4), tmp_path, quiet=True).step == 4


def test_an_average_that_is_no_longer_wanted_is_refused_too(experiment, tmp_path):
    train(experiment(steps=2, ema_decay=0.9), tmp_path, quiet=True)
    with pytest.raises(CheckpointError, match="extras/average"):
        train(experiment(steps=4), tmp_path, quiet=True)


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_inputs_that_are_all_the_same_train_to_finite_parameters(experiment, value):
    images, labels = np.full((64, 8, 8, 1), value, np.float32), np.arange(64, dtype=np.int32) % 10
    pipeline = Pipeline(source=ArraySource(arrays={"image": images, "label": labels}), batch_size=32)
    base = experiment()
    outcome = train(dataclasses.replace(base, train=pipeline, steps=3, evals={}), quiet=True)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(outcome.state.params))


def test_an_empty_source_and_a_batch_larger_than_the_data_are_refused_with_the_counts(experiment):
    with pytest.raises(DataError, match="image, label have 0 rows"):
        ArraySource(arrays={"image": np.zeros((0, 8, 8, 1), np.uint8), "label": np.zeros(0, np.int32)})
    few = ArraySource(arrays={"image": np.zeros((8, 8, 8, 1), np.uint8), "label": np.zeros(8, np.int32)})
    with pytest.raises(ValueError, match=r"A batch of 16 is larger than the training data, 8 examples"):
        train(experiment(train=Pipeline(source=few, batch_size=16), evals={}), quiet=True)


@pytest.mark.parametrize("hours", [-30, 30], ids=["back", "ahead"])
def test_a_clock_that_jumps_changes_nothing(experiment, tmp_path, monkeypatch, straight, hours):
    real, calls = time.time, [0]

    def jumping():
        calls[0] += 1
        return real() + (3600 * hours if calls[0] > 3 else 0)

    train(experiment(steps=20, saving=Saving(every=5, keep=2)), tmp_path, quiet=True)
    monkeypatch.setattr(time, "time", jumping)
    outcome = train(experiment(saving=Saving(every=5, keep=2)), tmp_path, quiet=True)
    assert calls[0] > 4
    assert bits(outcome.state) == straight
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("0*")) == ["00000035", "00000040"]
    rows = [row["step"] for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    assert rows == [10, 20, 30, 40]


def test_a_full_disk_for_tensorboard_changes_nothing(experiment, tmp_path, straight, capsys):
    (tmp_path / "tensorboard").touch()
    outcome = train(experiment(tensorboard=True), tmp_path, quiet=True)
    assert bits(outcome.state) == straight
    assert capsys.readouterr().err.count("Training goes on.") == 1
    assert len(read_rows(tmp_path / "metrics.jsonl")) > 4


def test_a_result_that_is_not_finite_is_strict_json(experiment, tmp_path):
    def bad(moment):
        return moment._replace(results={**moment.results, "test/odd": float("nan")})

    train(experiment(steps=2, hooks=(bad,)), tmp_path, quiet=True)
    for name in ("metrics.jsonl", "summary.json", "run.json"):
        for line in (
            (tmp_path / name).read_text().splitlines() if name.endswith("l") else [(tmp_path / name).read_text()]
        ):
            json.loads(line, parse_constant=pytest.fail)


# In processes of their own.


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(CONFIG)
    return path


def start(config, workdir, *flags, cache=None, under=()):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(cache or config.parent / "cache")
    words = ["train", f"--config={config}", f"--workdir={workdir}", "--quiet", *flags]
    command = [*under, sys.executable, "-m", "jaxdl", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    return errors


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone")
    finish(start(config, workdir))
    return saved_bits(workdir)


@pytest.mark.slow
def test_a_damaged_compile_cache_changes_nothing(config, tmp_path, alone):
    cache = tmp_path / "cache"
    finish(start(config, tmp_path / "first", cache=cache))
    entries = sorted(path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 100)
    assert entries
    for number, path in enumerate(entries):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x20
        kinds = (bytes(content), bytes(content[: len(content) // 2]), b"", bytes(len(content)))
        path.write_bytes(kinds[number % 4])
    finish(start(config, tmp_path / "second", cache=cache))
    assert saved_bits(tmp_path / "second") == saved_bits(tmp_path / "first") == alone


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["ulimit -n 12", "ulimit -f 1", "ulimit -v 1000000"], ids=["files", "size", "memory"])
def test_a_run_that_ran_into_a_limit_of_the_system_goes_on_without_it(config, tmp_path, alone, limit):
    finish(start(config, tmp_path, "--config.steps=10"))
    process = start(config, tmp_path, under=["sh", "-c", f'{limit}; exec "$@"', "sh"])
    process.communicate(timeout=300)
    assert process.returncode != 0
    finish(start(config, tmp_path))
    assert saved_bits(tmp_path) == alone


@pytest.mark.slow
def test_ten_races_for_one_run_folder_have_one_winner_each(config, tmp_path, alone):
    for race in range(10):
        workdir = tmp_path / str(race)
        both = [start(config, workdir) for _ in range(2)]
        ends = [(process.communicate(timeout=300)[1], process.returncode) for process in both]
        codes = sorted(code for _, code in ends)
        assert codes in ([0, 74], [0, 0]), ends  # The second may come when the first is done: nothing is left to do.
        for errors, code in ends:
            assert code == 0 or "is in use by process" in errors
        assert saved_bits(workdir) == alone


@pytest.mark.slow
def test_workers_of_a_killed_run_end_and_leave_no_shared_memory(config, tmp_path):
    before = set(os.listdir("/dev/shm"))
    process = start(config, tmp_path, "--config.train.processes=2", "--config.steps=100000", "--config.resident=false")
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.jsonl").exists() or len(read_rows(tmp_path / "metrics.jsonl")) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    children = listed.stdout.split()
    assert len(children) >= 2
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(Path("/proc", child).exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [child for child in children if Path("/proc", child).exists()] == []
    assert {name for name in os.listdir("/dev/shm") if name.startswith("psm_")} <= before


def test_evaluations_that_cannot_be_read_are_found_before_training(experiment, tmp_path):
    images = np.zeros((16, 8, 8, 1), np.float32)
    images[3, 0, 0, 0] = np.nan
    source = ArraySource(arrays={"image": images, "label": np.zeros(16, np.int32)})
    evals = {"test": Evaluation(data=Pipeline(source=source, batch_size=16))}
    with pytest.raises(DataError, match="'image' holds nan"):
        train(
            experiment(evals=evals, steps=1, optimizer=optimizer(rule=adam(), learning_rate=0.1)), tmp_path, quiet=True
        )
