"""What is split over which axes, for the names that all our models share."""

from jaxdl.parallel.mesh import ROWS
from jaxdl.trees import Rules

# Stages take their layers' parameters out of what lies split over all of them.
_SHARDS = ("stage", "fsdp")

REPLICATE: Rules = ((".*", None),)
FULLY_SHARDED: Rules = ((".*", "fsdp"),)
TRANSFORMER: Rules = (
    # Of two products in a row the first is split by its outputs and the second by its inputs, so that one sum over
    # devices ends both (Shoeybi et al. 2019, section 3).
    (r"(.*/)?(query|key|value)/kernel", (_SHARDS, "tensor")),
    (r"(.*/)?(query|key|value)/bias", ("tensor",)),
    (r"(.*/)?out/kernel", ("tensor", _SHARDS)),
    # Experts (E, D, F), each on the devices of its part, and within those like other feed-forward layers.
    (r"(.*/)?experts/(up|gate)/kernel", ("expert", _SHARDS, "tensor")),
    (r"(.*/)?experts/down/kernel", ("expert", "tensor", _SHARDS)),
    (r"(.*/)?(up|gate)/kernel", (_SHARDS, "tensor")),
    (r"(.*/)?(up|gate)/bias", ("tensor",)),
    (r"(.*/)?down/kernel", ("tensor", _SHARDS)),
    (r"(.*/)?token_embedding/embedding", ("tensor", _SHARDS)),
    (r"head/kernel", (_SHARDS, "tensor")),
    (r".*", "fsdp"),
)
"""Tensor parallelism of attention, feed-forward layers and vocabulary; everything is fully sharded over `fsdp` too."""
ACTIVATIONS: Rules = ((r"(.*/)?(layers|block_\d+)", (ROWS, "sequence", None)),)
"""What the layers of Transformers hand on (B, T, D): rows and tokens are split, features are not."""
