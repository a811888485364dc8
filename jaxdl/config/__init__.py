"""Configs as calls written down: `spec` writes, `load` reads, `override` changes, `check` checks, `build` makes."""

from jaxdl.config._build import build
from jaxdl.config._check import check
from jaxdl.config._json import from_json, to_json
from jaxdl.config._load import define, load, read
from jaxdl.config._override import override
from jaxdl.config._places import places
from jaxdl.config._show import Leaf, diff, flatten, show
from jaxdl.config._spec import ref, spec
from jaxdl.config._tree import ABSENT

__all__ = [
    "ABSENT",
    "Leaf",
    "build",
    "check",
    "define",
    "diff",
    "flatten",
    "from_json",
    "load",
    "override",
    "places",
    "read",
    "ref",
    "show",
    "spec",
    "to_json",
]
