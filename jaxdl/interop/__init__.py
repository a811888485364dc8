"""Weights in and out: other frameworks' files to our parameters and back, and transfer between models of ours."""

from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import to_ours, to_theirs
from jaxdl.interop.pretrained import load, save
from jaxdl.interop.report import Line, Report
from jaxdl.interop.transfer import InitFrom, apply

__all__ = ["Choices", "InitFrom", "Line", "Report", "apply", "load", "save", "to_ours", "to_theirs"]
