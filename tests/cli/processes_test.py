"""Processes that come together: found in what a cluster says, or missing and named."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest

from jaxdl.cli.doctor import examine
from jaxdl.cli.processes import Place, _address, find, free_port, join, told_when_lost
from jaxdl.errors import ConfigError, JaxdlError

TRAIN = ["train", "--config", "configs/vision/digits_mlp.py", "--config.tensorboard=false"]
CLUSTERS = ("SLURM_", "OMPI_", "PMIX_", "PRTE_", "TPU_", "JAX_COORD", "KUBERNETES_", "MEGASCALE_")
SLURM = {"SLURM_JOB_ID": "12345", "SLURM_STEP_NODELIST": "node[001-004],other", "SLURM_NTASKS": "8"}
SLURM |= {"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
OMPI = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911", "OMPI_COMM_WORLD_SIZE": "4"}
OMPI |= {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}


@pytest.fixture
def surroundings(monkeypatch):
    """Sets variables of the environment, and no others of a cluster."""
    for name in os.environ:
        if name.startswith(CLUSTERS):
            monkeypatch.delenv(name)
    return lambda variables: [monkeypatch.setenv(*item) for item in variables.items()]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12345"}, None),
        (SLURM, Place(f"node001:{12345 % 4096 + 61440}", 8, 3, (1,))),
        ({**SLURM, "JAX_COORDINATOR_PORT": "8476"}, Place("node001:8476", 8, 3, (1,))),
        ({**SLURM, "JAX_COORDINATOR_ADDRESS": "head:1234"}, Place("head:1234", 8, 3, (1,))),
        (OMPI, Place(f"10.96.0.1:{1531576320 // 4096 % 4096 + 61440}", 4, 2, (0,))),
    ],
    ids=["nothing", "no step", "slurm", "port", "address", "ompi"],
)
def test_what_a_cluster_says(variables, expected, surroundings):
    surroundings(variables)
    assert find(1) == expected


def test_a_cluster_that_makes_no_sense(surroundings):
    surroundings({**SLURM, "SLURM_NTASKS": "many"})
    with pytest.raises(ConfigError, match=r"cannot read what the cluster says: ValueError: .*many"):
        find(1)


def test_addresses():
    soon = time.monotonic()
    assert _address("10.0.0.1:8476", soon) == ("10.0.0.1", 8476)
    assert _address("[::1]:8476", soon) == ("::1", 8476)
    assert _address("localhost:1", soon)[0] in ("127.0.0.1", "::1")
    for wrong in ("here", ":1", "here:", "here:0", "here:65536", "here:-1", "here:1.0"):
        with pytest.raises(ConfigError, match="must be HOST:PORT"):
            _address(wrong, soon)


def test_no_flags_no_processes():
    join(argparse.Namespace(distributed=False, coordinator=None, processes=None, process=None))


def distributed():
    return {one.what: one for one in examine() if "distributed" in one.what or one.what == "launchers"}


def test_the_doctor_says_where_it_is(surroundings, monkeypatch):
    surroundings({})
    monkeypatch.setenv("PATH", "")
    assert distributed()["distributed environment"].found == "none found: one process"
    assert distributed()["launchers"].found == "none found"
    surroundings({"SLURM_JOB_ID": "12345"})
    found = distributed()["distributed environment"]
    assert found.found == "SLURM"
    assert "srun" in found.advice
    surroundings(SLURM)
    found = distributed()["distributed environment"]
    assert found == ("distributed environment", "SLURM: process 3 of 8, coordinator node001:61497", "")
    surroundings({"SLURM_NTASKS": "many"})
    assert "many" in distributed()["distributed environment"].advice
    surroundings({**SLURM, "https_proxy": "http://proxy:3128"})
    assert "unset" in distributed()["distributed environment"].advice


def start(words, root, variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith((*CLUSTERS, "XLA_FLAGS"))}
    return subprocess.Popen(
        [sys.executable, "-m", "jaxdl", *words],
        cwd=root,
        env={**environment, "JAX_PLATFORMS": "cpu", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_three_of_four_processes_name_the_fourth(tmp_path, request):
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "4", "--join-seconds", "5"]
    words = [*TRAIN, "--workdir", str(tmp_path / "run"), *where]
    began = time.monotonic()
    children = [start([*words, "--process", str(i)], request.config.rootpath, {}) for i in (0, 1, 3)]
    told = [child.communicate(timeout=60)[1] for child in children]
    assert time.monotonic() - began < 5 + 15
    assert [child.returncode for child in children] == [1, 1, 1]
    for message in told:
        (line,) = message.splitlines()
        assert line.startswith("jaxdl train: Process 2 of 4 did not arrive at 127.0.0.1:")
    assert not (tmp_path / "run").exists()


def slurm(number, port):
    place = {"SLURM_STEP_NODELIST": "127.0.0.1,other", "SLURM_NTASKS": "2", "SLURM_PROCID": str(number)}
    return {**SLURM, **place, "SLURM_LOCALID": "0", "JAX_COORDINATOR_PORT": str(port)}


def ompi(number, port):
    place = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(number), "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    return {**place, "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911", "JAX_COORDINATOR_PORT": str(port)}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [slurm, ompi])
def test_two_processes_of_a_cluster_train_together_and_listen_on_loopback_only(cluster, tmp_path, request):
    port = free_port()
    flags = ["--config.steps=100000", "--config.log_every=10", "--config.steps_per_dispatch=1", "--distributed"]
    words = [*TRAIN, "--workdir", str(tmp_path), *flags]
    children = [start(words, request.config.rootpath, cluster(number, port)) for number in range(2)]
    log = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not log.exists() or log.read_text().count("\n") < 3:
        assert all(child.poll() is None for child in children), [child.communicate() for child in children]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    socket.create_connection(("127.0.0.1", port)).close()
    for elsewhere in ("127.0.0.2", *{one[4][0] for one in socket.getaddrinfo(socket.gethostname(), 0)} - {"127.0.0.1"}):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((elsewhere, port)):
            pytest.fail(f"the coordinator answers at {elsewhere}")
    children[1].send_signal(signal.SIGTERM)
    told = [child.communicate(timeout=100) for child in children]
    assert [child.returncode for child in children] == [75, 75], told
    assert len(json.loads((tmp_path / "run.json").read_text())["devices"]) == 2


def test_a_lost_process_is_told_in_a_line(monkeypatch):
    gloo = "UNKNOWN: Gloo all-reduce failed: [external/gloo/pair.cc:538] Read error: Connection reset by peer"
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    lost = r"Another process of the run was lost: UNKNOWN: Gloo .* by peer\. .* again"
    with pytest.raises(JaxdlError, match=lost), told_when_lost():
        raise jax.errors.JaxRuntimeError(f"{gloo}\nmore")
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE"), told_when_lost():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Gloo"), told_when_lost():
        raise jax.errors.JaxRuntimeError(gloo)
