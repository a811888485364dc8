"""Transforms of one example on the host, as Grain transforms."""

from jaxdl.data.transforms.crop import CenterCrop, RandomCrop, RandomResizedCrop
from jaxdl.data.transforms.decode import Decode
from jaxdl.data.transforms.flip import RandomFlip
from jaxdl.data.transforms.gray import ToGray
from jaxdl.data.transforms.resize import Resize, ResizeSmallest

__all__ = [
    "CenterCrop",
    "Decode",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "ResizeSmallest",
    "ToGray",
]
