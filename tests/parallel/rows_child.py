"""One of several processes: prints as JSON which examples it reads, and whether the batch of all of them is whole.

Words: the number of this process, how many there are, the port of process 0, and the mesh as JSON.
"""

import dataclasses
import json
import sys

import jax
import numpy as np

from jaxdl.data import Pipeline
from jaxdl.parallel import make_mesh, place, replicated, row_shard


class Numbers:
    """The examples 0 to 39, each of which is its own number."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"number": np.int32(index)}

    def gather(self, indices):
        return {"number": np.asarray(indices, np.int32)}


def main():
    number, count, port, axes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    address = f"127.0.0.1:{port}"
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, count, number, coordinator_bind_address=address)
    mesh = make_mesh(axes)
    whole = Pipeline(source=Numbers(), batch_size=8, seed=3)
    own = dataclasses.replace(whole, shard=row_shard(mesh))
    together = jax.jit(lambda x: x, out_shardings=replicated(mesh))
    seen = []
    for step in range(10):
        batch = own[step]
        seen.append(batch["number"].tolist())
        np.testing.assert_array_equal(together(place(batch, mesh)["number"]), whole[step]["number"])
    print(json.dumps({"shard": own.shard, "seen": seen}))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
