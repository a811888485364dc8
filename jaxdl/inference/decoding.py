"""The names of `jaxdl.decoding`."""

from jaxdl.decoding import Decoded, Progress, Step, beam_search, begin, decode, generate, prefill, stepping

__all__ = ["Decoded", "Progress", "Step", "beam_search", "begin", "decode", "generate", "prefill", "stepping"]
