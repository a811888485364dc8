"""One of several processes that save and restore a state together: rank, how many, port and directory as words."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl.checkpoint import BestOf, Checkpoints


def make_state(seed):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    spread, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    shardings = {"w": spread, "bias": everywhere, "key": everywhere, "keys": spread}

    def make():
        key = jax.random.key(seed)
        return {
            "w": jax.random.normal(key, (64, 16)),
            "bias": jnp.ones(8) * seed,
            "key": key,
            "keys": jax.random.split(key, 8),
        }

    return {**jax.jit(make, out_shardings=shardings)(), "count": seed}


def data(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def check(restored, step):
    assert restored.step == step
    assert restored.info == {"step": step}
    expected = make_state(step)
    assert restored.state.pop("count") == expected.pop("count")
    for name, leaf in expected.items():
        assert restored.state[name].sharding == leaf.sharding
        assert jax.jit(lambda a, b: (a == b).all())(data(restored.state[name]), data(leaf)), name


def main():
    rank, count, port, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(address, count, rank, coordinator_bind_address=address if rank == 0 else None)
    grow = jax.jit(lambda x: x + 1, donate_argnums=0)
    with Checkpoints(directory, keep=1, best=BestOf(metric="score")) as checkpoints:
        for step in (1, 2, 3):
            state = make_state(step)
            checkpoints.save(step, state, {"step": step}, metrics={"score": -step})
            jax.block_until_ready(grow(grow(state.pop("w"))))
        checkpoints.wait()
        assert checkpoints.steps() == [1, 3]
        check(checkpoints.restore(make_state(0)), 3)
        assert checkpoints.discard_after(2) == [3]
        check(checkpoints.restore(make_state(0), step=1), 1)
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
