"""PyTorch without the avoidable costs: batches sliced from tensors, fused AdamW, channels last for convolutions."""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.peers import torch_models
from benchmarks.peers.measure import THREADS, main, measure
from benchmarks.peers.workloads import LEARNING_RATE, WEIGHT_DECAY, WORKLOADS, data


def run(workload: str, seconds: float, *, compiled: bool = False) -> dict[str, Any]:
    """Trains a workload and times it; `compiled` puts the model and its loss through `torch.compile`."""
    torch.set_num_threads(THREADS)
    settings = WORKLOADS[workload]
    model = torch_models.make_model(settings)
    images, labels = torch_models.tensors(*data(settings))
    if settings.model != "mlp":
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    indices = _shuffled(settings.examples, settings.batch_size)

    def forward(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(image), label)

    loss_of = torch.compile(forward) if compiled else forward

    def train(steps: int) -> None:
        for _ in range(steps):
            index = next(indices)
            optimizer.zero_grad(set_to_none=True)
            loss_of(images[index], labels[index]).backward()
            optimizer.step()

    return measure(train, seconds)


def _shuffled(examples: int, batch_size: int) -> Iterator[torch.Tensor]:
    while True:
        yield from torch.randperm(examples).split(batch_size)


if __name__ == "__main__":
    main(run)
