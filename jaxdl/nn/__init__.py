"""Layers: the Flax modules and pure functions that the models are made of."""

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.convolution import Conv
from jaxdl.nn.linear import Dense
from jaxdl.nn.normalization import BatchNorm
from jaxdl.nn.pooling import avg_pool, global_average_pool, max_pool
from jaxdl.nn.regularization import StochasticDepth

__all__ = [
    "Activation",
    "BatchNorm",
    "Conv",
    "Dense",
    "StochasticDepth",
    "activation",
    "avg_pool",
    "global_average_pool",
    "max_pool",
]
