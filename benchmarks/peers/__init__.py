"""What jaxdl is compared with: the same models trained by other means, each peer in a process of its own.

`python -m benchmarks.peers.PEER WORKLOAD [SECONDS]` prints one JSON line (see `measure`).
"""

PEERS = ("torch_eager", "torch_tuned", "torch_compiled", "plain_flax", "handwritten")
"""Module names: two loops and a compiled one in PyTorch, one in plain Flax, one in JAX at its best."""
