"""Four real processes of this machine train as one, resume as two and as one, and write each file once."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl.cli.processes import free_port

HERE = Path(__file__).parent
# A constant learning rate: a longer run then takes the same steps, and the run may stop anywhere.
TRAIN = ["train", "--config", "configs/vision/digits_mlp.py", "--config.optimizer.learning_rate=1e-3"]
TRAIN += ["--config.log_every=10", "--config.steps_per_dispatch=1", "--config.saving.every=20"]
TRAIN += ["--config.evals.test.every=40"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PYTEST_CURRENT_TEST")}
ENVIRONMENT |= {"JAX_PLATFORMS": "cpu"}


def together(commands, root, seconds=300):
    """Runs the commands at the same time; returns what each printed."""
    children = [
        subprocess.Popen(words, cwd=root, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    told = [child.communicate(timeout=seconds) for child in children]
    assert [child.returncode for child in children] == [0] * len(children), told
    return [out for out, _ in told]


def jaxdl(words, root):
    (out,) = together([[sys.executable, "-m", "jaxdl", *words]], root)
    return out


def rows(workdir, kind):
    """The logged rows of a kind by step, without their times; each step once."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    found = [row for row in found if row["kind"] == kind]
    steps = [row["step"] for row in found]
    assert steps == sorted(set(steps)), "each step once, in order"
    return {row["step"]: row for row in found}


def same(found, expected):
    """Whether two runs logged the same losses, and had read the same examples."""
    assert list(found) == list(expected)
    for step, row in expected.items():
        assert found[step]["loss"] == pytest.approx(row["loss"], rel=1e-4), step
        if "epoch" in row:
            assert found[step]["epoch"] == row["epoch"]


@pytest.fixture(scope="module")
def uninterrupted(request, tmp_path_factory):
    """120 steps by one process."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    jaxdl([*TRAIN, "--workdir", str(workdir), "--config.steps=120"], request.config.rootpath)
    return workdir


@pytest.mark.parametrize(
    ("axes", "shards"),
    [
        ({"data": 4}, [[0, 4], [1, 4], [2, 4], [3, 4]]),
        pytest.param({"data": 2, "tensor": 2}, [[0, 2], [0, 2], [1, 2], [1, 2]], marks=pytest.mark.slow),
    ],
    ids=["data", "data-tensor"],
)
def test_the_rows_of_four_processes_are_disjoint_and_complete(axes, shards, request):
    port = str(free_port())
    child = [sys.executable, str(HERE / "rows_child.py")]
    commands = [[*child, str(number), "4", port, json.dumps(axes)] for number in range(4)]
    told = [json.loads(out.splitlines()[-1]) for out in together(commands, request.config.rootpath)]  # After Gloo's.
    assert [one["shard"] for one in told] == shards
    parts = {tuple(one["shard"]): one["seen"] for one in told}
    assert all(one["seen"] == parts[tuple(one["shard"])] for one in told), "who shares rows reads the same"
    steps = [[example for part in parts.values() for example in part[step]] for step in range(10)]
    assert all(len(set(step)) == 8 for step in steps), "no example twice in a batch"
    for epoch in (steps[:5], steps[5:]):
        assert sorted(itertools.chain(*epoch)) == list(range(40)), "an epoch holds each example once"


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["{data: 4}", "{data: 2, fsdp: 2}"])
def test_four_processes_train_as_one_does(mesh, uninterrupted, tmp_path, request):
    words = [*TRAIN, "--workdir", str(tmp_path / "four"), "--config.steps=120", f"--config.mesh={mesh}"]
    jaxdl(["launch", "local", "--processes", "4", *words], request.config.rootpath)
    for kind in ("train", "test"):
        same(rows(tmp_path / "four", kind), rows(uninterrupted, kind))


@pytest.mark.slow
def test_a_run_of_four_processes_goes_on_as_two_and_as_one(uninterrupted, tmp_path, request):
    workdir = tmp_path / "run"
    words = [*TRAIN, "--workdir", str(workdir)]
    for processes, steps, before in ((4, 40, None), (2, 80, 40), (1, 120, 80)):
        launch = ["launch", "local", "--processes", str(processes)] if processes > 1 else []
        out = jaxdl([*launch, *words, f"--config.steps={steps}"], request.config.rootpath)
        if launch and before is not None:
            assert f"Resumed from step {before} (verified)." in out
        provenance = json.loads((workdir / "run.json").read_text())
        assert len(provenance["devices"]) == processes
    for kind in ("train", "test"):
        same(rows(workdir, kind), rows(uninterrupted, kind))


@pytest.mark.slow
def test_what_is_written_once_process_0_writes_alone(tmp_path, request):
    workdir = tmp_path / "run"
    port = str(free_port())
    flags = [*TRAIN, "--workdir", str(workdir), "--config.steps=40"]
    commands = [
        [
            *[sys.executable, str(HERE / "audit_child.py"), str(workdir), str(tmp_path / f"notes{number}"), *flags],
            *["--coordinator", f"127.0.0.1:{port}", "--processes", "4", "--process", str(number)],
        ]
        for number in range(4)
    ]
    together(commands, request.config.rootpath)
    notes = [json.loads((tmp_path / f"notes{number}").read_text()) for number in range(4)]
    first, *others = [{path for _, path in one} for one in notes]
    once = {path.name for path in workdir.iterdir()} - {"checkpoints"}
    assert once >= {"config.json", "metrics.jsonl", "run.json", "summary.json", "provenance.json", "tensorboard"}
    assert {path.split(os.sep)[0].strip(".").removesuffix(".tmp") for path in first} >= once
    for number, paths in enumerate(others, start=1):
        assert paths, "Orbax notes what it wrote of the arrays"
        assert all(path.endswith(f"/array_metadatas/process_{number}") for path in paths), paths
