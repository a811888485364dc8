"""The names of `jaxdl.decoding.sampling`."""

from jaxdl.decoding.sampling import GREEDY, Sampling

__all__ = ["GREEDY", "Sampling"]
