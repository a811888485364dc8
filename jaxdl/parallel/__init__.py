"""Meshes, sharding rules, and learners compiled for them."""

from jaxdl.parallel.mesh import AXES, batch_sharding, check_batch_size, make_mesh, place, replicated
from jaxdl.parallel.sharding import FULLY_SHARDED, REPLICATE, abstract_state, pmapped, shard

__all__ = [
    "AXES",
    "FULLY_SHARDED",
    "REPLICATE",
    "abstract_state",
    "batch_sharding",
    "check_batch_size",
    "make_mesh",
    "place",
    "pmapped",
    "replicated",
    "shard",
]
