"""The tuned PyTorch loop with its forward and backward passes compiled."""

from typing import Any

from benchmarks.peers import torch_tuned
from benchmarks.peers.measure import main


def run(workload: str, seconds: float) -> dict[str, Any]:
    """Trains a workload and times it."""
    return torch_tuned.run(workload, seconds, compiled=True)


if __name__ == "__main__":
    main(run)
