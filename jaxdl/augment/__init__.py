"""Augmentation on the device: pure functions `(key, batch) -> batch`, the same for any sharding of the batch."""

from jaxdl.augment.compose import Augmentation, compose
from jaxdl.augment.images import RandomCrop, RandomErasing, RandomFlip
from jaxdl.augment.masking import MaskTokens
from jaxdl.augment.mixing import CutMix, Mixup
from jaxdl.augment.randaugment import RandAugment
from jaxdl.augment.spectra import MaskSpectra

__all__ = [
    "Augmentation",
    "CutMix",
    "MaskSpectra",
    "MaskTokens",
    "Mixup",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "compose",
]
