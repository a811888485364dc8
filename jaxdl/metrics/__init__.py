"""Additive metrics: states whose merge is leafwise addition."""

from jaxdl.metrics.mean import Mean, add

__all__ = ["Mean", "add"]
