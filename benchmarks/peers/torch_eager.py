"""PyTorch as its tutorials write it: a DataLoader over a TensorDataset, one optimizer step per batch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import torch_models
from benchmarks.peers.measure import THREADS, main, measure
from benchmarks.peers.workloads import LEARNING_RATE, WEIGHT_DECAY, WORKLOADS, data


def run(workload: str, seconds: float) -> dict[str, Any]:
    """Trains a workload and times it."""
    torch.set_num_threads(THREADS)
    settings = WORKLOADS[workload]
    model = torch_models.make_model(settings)
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    dataset = TensorDataset(*torch_models.tensors(*data(settings)))
    batches = _epochs(DataLoader(dataset, settings.batch_size, shuffle=True, drop_last=True))

    def train(steps: int) -> None:
        for step in range(steps):
            images, labels = next(batches)
            loss = loss_function(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % 100 == 0:
                loss.item()

    return measure(train, seconds)


def _epochs(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


if __name__ == "__main__":
    main(run)
