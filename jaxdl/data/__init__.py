"""Data: sources with random access, and batches that are a pure function of the step."""

from jaxdl.data.permutation import permute
from jaxdl.data.pipeline import Pipeline, batches, fingerprint, once
from jaxdl.data.prefetch import prefetch

__all__ = ["Pipeline", "batches", "fingerprint", "once", "permute", "prefetch"]
