"""The models, batches and data that every peer trains on. Imports neither torch nor jax."""

import dataclasses
from types import MappingProxyType
from typing import Literal

import numpy as np

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
CLASSES = 10
STAGES = ((16, 1), (32, 2), (64, 2))
"""Channels and stride of the stages of ResNet-20, with three blocks each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """A model with its batch; all of it float32 and trained by AdamW."""

    model: Literal["mlp", "lenet", "resnet20"]
    batch_size: int
    shape: tuple[int, ...]
    """Of one image, channels last."""
    examples: int
    parameters: int
    """What the model must count, as `jaxdl.models` does."""
    steps_per_call: int
    """How many steps the handwritten peer scans in one call."""


WORKLOADS = MappingProxyType(
    {
        "mlp32": Workload(
            model="mlp", batch_size=32, shape=(8, 8, 1), examples=1792, parameters=9_610, steps_per_call=280
        ),
        "mlp256": Workload(
            model="mlp", batch_size=256, shape=(8, 8, 1), examples=1792, parameters=9_610, steps_per_call=140
        ),
        "lenet": Workload(
            model="lenet", batch_size=128, shape=(28, 28, 1), examples=4096, parameters=421_642, steps_per_call=1
        ),
        "resnet20": Workload(
            model="resnet20", batch_size=128, shape=(32, 32, 3), examples=1024, parameters=269_722, steps_per_call=1
        ),
    }
)


def data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N, h, w, channels) float32 and labels (N,) int32; what they show does not change the speed."""
    random = np.random.default_rng(0)
    images = random.random((workload.examples, *workload.shape), dtype=np.float32)
    return images, random.integers(0, CLASSES, workload.examples, dtype=np.int32)


def check_parameters(workload: Workload, counted: int) -> None:
    """Stops a comparison of unequal models."""
    if counted != workload.parameters:
        raise ValueError(f"The {workload.model} has {counted} parameters here, not {workload.parameters}.")
