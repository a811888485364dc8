"""Published sizes of the models, each with its number of parameters and its FLOPs."""

import dataclasses

from jaxdl.models.published import convolutional, decoders, encoders, recurrent, speech
from jaxdl.models.published.entry import Published
from jaxdl.models.published.flops import FLOPS

PUBLISHED: tuple[Published, ...] = tuple(
    dataclasses.replace(entry, flops=FLOPS[entry.name])
    for family in (convolutional, recurrent, encoders, decoders, speech)
    for entry in family.PUBLISHED
)
"""Every published size, family by family."""

__all__ = ["PUBLISHED", "Published"]
