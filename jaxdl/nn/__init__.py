"""Layers: the Flax modules and pure functions that the models are made of."""

from jaxdl.nn.activations import Activation, activation
from jaxdl.nn.alignment import Alignment, Memory
from jaxdl.nn.attention import Attention, KeyValue, attend
from jaxdl.nn.convolution import Conv, UpConv
from jaxdl.nn.convolution_1d import Conv1D
from jaxdl.nn.feedforward import FeedForward
from jaxdl.nn.linear import Dense, tied_logits
from jaxdl.nn.masks import attention_mask, both, segment_attention_mask, token_attention_mask
from jaxdl.nn.moe import MixtureOfExperts, Routed, Routing, load_balance_loss, router_z_loss
from jaxdl.nn.normalization import BatchNorm
from jaxdl.nn.patches import PatchEmbedding
from jaxdl.nn.pooling import avg_pool, global_average_pool, max_pool, pool_tokens
from jaxdl.nn.positions import RelativeBias, Rotary, alibi_bias, rotate, sinusoids
from jaxdl.nn.recurrent import Recurrent, RecurrentCell, RecurrentState, last_hidden, length_mask
from jaxdl.nn.regularization import StochasticDepth, check_rates, drop_examples
from jaxdl.nn.relative_attention import RelativeAttention
from jaxdl.nn.separable import InvertedResidual, SeparableConv
from jaxdl.nn.squeeze_excite import SqueezeExcite
from jaxdl.nn.transformer import Cache, LayerCache, Layers, TransformerLayer, decoder_places, rising

__all__ = [
    "Activation",
    "Alignment",
    "Attention",
    "BatchNorm",
    "Cache",
    "Conv",
    "Conv1D",
    "Dense",
    "FeedForward",
    "InvertedResidual",
    "KeyValue",
    "LayerCache",
    "Layers",
    "Memory",
    "MixtureOfExperts",
    "PatchEmbedding",
    "Recurrent",
    "RecurrentCell",
    "RecurrentState",
    "RelativeAttention",
    "RelativeBias",
    "Rotary",
    "Routed",
    "Routing",
    "SeparableConv",
    "SqueezeExcite",
    "StochasticDepth",
    "TransformerLayer",
    "UpConv",
    "activation",
    "alibi_bias",
    "attend",
    "attention_mask",
    "avg_pool",
    "both",
    "check_rates",
    "decoder_places",
    "drop_examples",
    "global_average_pool",
    "last_hidden",
    "length_mask",
    "load_balance_loss",
    "max_pool",
    "pool_tokens",
    "rising",
    "rotate",
    "router_z_loss",
    "segment_attention_mask",
    "sinusoids",
    "tied_logits",
    "token_attention_mask",
]
