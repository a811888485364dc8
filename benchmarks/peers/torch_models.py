"""The models of the workloads in PyTorch, for images (B, channels, h, w)."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.workloads import CLASSES, STAGES, Workload, check_parameters


class Block(nn.Module):
    """A basic block with the parameter-free shortcut (He et al. 2016, option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm_0 = nn.BatchNorm2d(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(channels)
        self.stride, self.added = stride, channels - channels_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, channels_in, h, w) to (B, channels, h / stride, w / stride)."""
        y = functional.relu(self.norm_0(self.conv_0(x)))
        y = self.norm_1(self.conv_1(y))
        if self.added or self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return functional.relu(y + x)


def make_model(workload: Workload) -> nn.Module:
    """The model of a workload, with its parameters counted."""
    model = {"mlp": _mlp, "lenet": _lenet, "resnet20": _resnet20}[workload.model]()
    check_parameters(workload, sum(parameter.numel() for parameter in model.parameters()))
    return model.train()


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Images as (N, channels, h, w) float32 and labels as int64."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels).long()


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def _lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
    )


def _resnet20() -> nn.Module:
    blocks: list[nn.Module] = []
    channels_in = 16
    for channels, stride in STAGES:
        for index in range(3):
            blocks.append(Block(channels_in, channels, stride if index == 0 else 1))
            channels_in = channels
    stem = (nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))
