"""Several real processes save and restore together; then one process restores alone what they saved."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl.checkpoint import Checkpoints


@pytest.fixture(scope="module", params=[2, 4])
def saved(request, tmp_path_factory):
    """A folder of checkpoints that so many processes with two devices each have written together."""
    folder = tmp_path_factory.mktemp("together") / "c"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = Path(__file__).with_name("processes_child.py")
    words = [sys.executable, str(child)]
    commands = [[*words, str(rank), str(request.param), str(port), str(folder)] for rank in range(request.param)]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        for command in commands
    ]
    told = [process.communicate(timeout=300)[0].decode() for process in children]
    assert [process.returncode for process in children] == [0] * len(children), "\n".join(told)
    return folder


def bits(array):
    """The numbers of an array, also of one that is spread over devices or holds random keys."""
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_what_several_processes_save_together_one_restores_alone_on_any_number_of_devices(saved, devices):
    key = jax.random.key(1)
    expected = {
        "w": jax.random.normal(key, (64, 16)), "bias": jnp.ones(8), "key": key, "keys": jax.random.split(key, 8),
    }  # fmt: skip
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    spread = {
        "w": PartitionSpec("data"),
        "bias": PartitionSpec(),
        "key": PartitionSpec(),
        "keys": PartitionSpec("data"),
    }
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spread[name]))
        for name, leaf in expected.items()
    }
    with Checkpoints(saved) as checkpoints:
        state = checkpoints.restore({**target, "count": 0}).state
    assert state.pop("count") == 1
    for name, leaf in expected.items():
        assert len(state[name].sharding.device_set) == devices
        assert np.array_equal(bits(state[name]), bits(leaf)), name
