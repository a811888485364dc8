"""Meshes, sharding rules, and learners compiled for them."""

from jaxdl.parallel.mesh import (
    AXES,
    ROWS,
    batch_sharding,
    check_batch_size,
    make_mesh,
    place,
    replicated,
    row_parts,
    row_shard,
)
from jaxdl.parallel.rules import FULLY_SHARDED, REPLICATE, TRANSFORMER
from jaxdl.parallel.sharding import abstract_state, idle_axes, pmapped, shard

__all__ = [
    "AXES",
    "FULLY_SHARDED",
    "REPLICATE",
    "ROWS",
    "TRANSFORMER",
    "abstract_state",
    "batch_sharding",
    "check_batch_size",
    "idle_axes",
    "make_mesh",
    "place",
    "pmapped",
    "replicated",
    "row_parts",
    "row_shard",
    "shard",
]
