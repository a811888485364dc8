import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import JaxdlError
from jaxdl.parallel import make_mesh, replicated
from jaxdl.train import CheckReplicas, train
from jaxdl.train.hooks.replicas import differing


def flipped(leaf, device, bit=0):
    """A replicated array of which one device holds one bit otherwise."""
    pieces = []
    for shard in leaf.addressable_shards:
        copy = np.array(shard.data)
        if shard.device == device:
            copy.view(f"uint{8 * copy.itemsize}").flat[copy.size // 2] ^= 1 << bit
        pieces.append(jax.device_put(copy, shard.device))
    return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, pieces)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("number", [0, 5])
def test_one_mantissa_bit_on_one_device_is_found(dtype, number):
    everywhere = replicated(make_mesh({"data": -1}))
    params = {
        "dense": {"kernel": jax.device_put(jnp.linspace(-1, 1, 60, dtype=dtype).reshape(5, 12), everywhere)},
        "bias": jax.device_put(jnp.zeros(3), everywhere),
    }
    assert differing(params) == {}
    device = jax.devices()[number]
    params["dense"]["kernel"] = flipped(params["dense"]["kernel"], device)
    assert differing(params) == {"dense/kernel": [device]}


def test_parts_are_compared_with_the_same_parts_only():
    mesh = make_mesh({"data": 4, "fsdp": 2})
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    kernel = jax.device_put(jnp.arange(8.0), split)
    assert differing({"kernel": kernel}) == {}
    assert differing({"kernel": flipped(kernel, jax.devices()[3])}) == {"kernel": [jax.devices()[3]]}


def test_of_two_that_differ_both_are_named():
    mesh = make_mesh({"data": 2}, jax.devices()[:2])
    kernel = jax.device_put(jnp.ones(4), replicated(mesh))
    assert differing({"kernel": flipped(kernel, jax.devices()[1])}) == {"kernel": jax.devices()[:2]}


class FlipAt:
    """A fault of one device."""

    def __init__(self, step):
        self.step = step

    def __call__(self, moment):
        if moment.step != self.step:
            return None
        params = moment.state.params
        head = {**params["head"], "kernel": flipped(params["head"]["kernel"], jax.devices()[6])}
        return moment._replace(state=moment.state.replace(params={**params, "head": head}))


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_training_ends_within_the_interval_and_names_the_device(experiment, tmp_path, mapping):
    hooks = (FlipAt(6), CheckReplicas(every=4))
    broken = experiment(steps=20, evals={}, hooks=hooks, mapping=mapping)
    with pytest.raises(JaxdlError, match=r"After step 8, the copies of 1 parameters .*: head/kernel on .*6"):
        train(broken, tmp_path, quiet=True)
    sound = dataclasses.replace(broken, hooks=(CheckReplicas(every=4),))
    assert train(sound, tmp_path, quiet=True).step == 20
