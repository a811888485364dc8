"""Published sizes of the models, each with its number of parameters and its FLOPs."""

from jaxdl.models.published import convolutional, encoders, recurrent, speech
from jaxdl.models.published.entry import Published

PUBLISHED: tuple[Published, ...] = (
    *convolutional.PUBLISHED,
    *recurrent.PUBLISHED,
    *encoders.PUBLISHED,
    *speech.PUBLISHED,
)
"""Every published size, family by family."""

__all__ = ["PUBLISHED", "Published"]
