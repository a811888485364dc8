"""Two real processes save and restore together; then one process restores alone what they saved."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.checkpoint import Checkpoints


@pytest.mark.slow
def test_two_processes_save_together_and_one_restores_alone(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = Path(__file__).with_name("processes_child.py")
    commands = [[sys.executable, str(child), str(rank), str(port), str(tmp_path / "c")] for rank in range(2)]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        for command in commands
    ]
    told = [process.communicate(timeout=300)[0].decode() for process in children]
    assert [process.returncode for process in children] == [0, 0], "\n".join(told)
    key = jax.random.key(1)
    target = {
        "w": jnp.zeros((64, 16)), "bias": jnp.zeros(8), "key": key, "keys": jax.random.split(key, 8), "count": 0,
    }  # fmt: skip
    with Checkpoints(tmp_path / "c") as checkpoints:
        state = checkpoints.restore(target).state
    assert state["count"] == 1
    assert np.array_equal(state["bias"], np.ones(8))
    assert jnp.array_equal(state["w"], jax.random.normal(key, (64, 16)))
    assert jnp.array_equal(jax.random.key_data(state["keys"]), jax.random.key_data(jax.random.split(key, 8)))
