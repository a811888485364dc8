"""Decoding: one token after another from any model with a step, drawn or searched for."""

from jaxdl.decoding.beam import beam_search
from jaxdl.decoding.sampling import GREEDY, Sampling
from jaxdl.decoding.steps import Decoded, Progress, Step, begin, decode, generate, prefill, stepping

__all__ = [
    "GREEDY",
    "Decoded",
    "Progress",
    "Sampling",
    "Step",
    "beam_search",
    "begin",
    "decode",
    "generate",
    "prefill",
    "stepping",
]
