"""Layers: the Flax modules and pure functions that the models are made of."""

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.attention import Attention, KeyValue, attend
from jaxdl.nn.convolution import Conv
from jaxdl.nn.feedforward import FeedForward
from jaxdl.nn.linear import Dense
from jaxdl.nn.masks import attention_mask, both, segment_attention_mask, token_attention_mask
from jaxdl.nn.normalization import BatchNorm
from jaxdl.nn.pooling import avg_pool, global_average_pool, max_pool
from jaxdl.nn.positions import RelativeBias, Rotary, alibi_bias, rotate, sinusoids
from jaxdl.nn.regularization import StochasticDepth, drop_examples
from jaxdl.nn.transformer import Cache, LayerCache, Layers, TransformerLayer, rising

__all__ = [
    "Activation",
    "Attention",
    "BatchNorm",
    "Cache",
    "Conv",
    "Dense",
    "FeedForward",
    "KeyValue",
    "LayerCache",
    "Layers",
    "RelativeBias",
    "Rotary",
    "StochasticDepth",
    "TransformerLayer",
    "activation",
    "alibi_bias",
    "attend",
    "attention_mask",
    "avg_pool",
    "both",
    "drop_examples",
    "global_average_pool",
    "max_pool",
    "rising",
    "rotate",
    "segment_attention_mask",
    "sinusoids",
    "token_attention_mask",
]
