"""Looking into models: floating-point operations, and tables of layers and parameters."""

from jaxdl.inspection.collectives import Collective, collectives
from jaxdl.inspection.flops import flops, flops_by_layer, open_loops
from jaxdl.inspection.parameters import Group, Parameter, group_table, grouped, parameter_table, parameters
from jaxdl.inspection.summary import Layer, Summary, summary
from jaxdl.inspection.table import table

__all__ = [
    "Collective",
    "Group",
    "Layer",
    "Parameter",
    "Summary",
    "collectives",
    "flops",
    "flops_by_layer",
    "group_table",
    "grouped",
    "open_loops",
    "parameter_table",
    "parameters",
    "summary",
    "table",
]
