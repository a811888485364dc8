"""Which parameter is split over which axes, for the names that all our models share."""

from jaxdl.trees import Rules

REPLICATE: Rules = ((".*", None),)
FULLY_SHARDED: Rules = ((".*", "fsdp"),)
TRANSFORMER: Rules = (
    # Of two products in a row the first is split by its outputs and the second by its inputs, so that one sum over
    # devices ends both (Shoeybi et al. 2019, section 3).
    (r"(.*/)?(query|key|value)/kernel", ("fsdp", "tensor")),
    (r"(.*/)?(query|key|value)/bias", ("tensor",)),
    (r"(.*/)?out/kernel", ("tensor", "fsdp")),
    # Experts (E, D, F), each on the devices of its part, and within those like other feed-forward layers.
    (r"(.*/)?experts/(up|gate)/kernel", ("expert", "fsdp", "tensor")),
    (r"(.*/)?experts/down/kernel", ("expert", "tensor", "fsdp")),
    (r"(.*/)?(up|gate)/kernel", ("fsdp", "tensor")),
    (r"(.*/)?(up|gate)/bias", ("tensor",)),
    (r"(.*/)?down/kernel", ("tensor", "fsdp")),
    (r"(.*/)?token_embedding/embedding", ("tensor", "fsdp")),
    (r"head/kernel", ("fsdp", "tensor")),
    (r".*", "fsdp"),
)
"""Tensor parallelism of attention, feed-forward layers and vocabulary; everything is fully sharded over `fsdp` too."""
