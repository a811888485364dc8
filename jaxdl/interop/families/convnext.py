"""ConvNeXt in Hugging Face's names."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.families.parts import activation, dense, norm, option, refuse_unless
from jaxdl.interop.families.vit import num_classes
from jaxdl.interop.layout import CONV2D, Layout, Prefix, Rule
from jaxdl.models.convnext import ConvNeXt


def layout() -> Layout:
    """`transformers.ConvNextForImageClassification` and `ConvNextModel`, the latter without a head.

    The last normalization of theirs has an epsilon of its own (`layer_norm_eps`, 1e-12 by default), ours the 1e-6 of
    the paper's code everywhere; on features of any size that matters the outputs agree to the last digits.
    """
    block, theirs = "stage_{i}_block_{j}", "{prefix}encoder.stages.{i}.layers.{j}."
    return (
        Prefix(("convnext.", "")),
        *_convolution("stem_conv", "{prefix}embeddings.patch_embeddings"),
        *norm("stem_norm", "{prefix}embeddings.layernorm"),
        *norm("downsample_{i}_norm", "{prefix}encoder.stages.{i}.downsampling_layer.0"),
        *_convolution("downsample_{i}_conv", "{prefix}encoder.stages.{i}.downsampling_layer.1"),
        *_convolution(f"{block}/depthwise_conv", theirs + "dwconv"),
        *norm(f"{block}/norm", theirs + "layernorm"),
        *dense(f"{block}/expand", theirs + "pwconv1"),
        *dense(f"{block}/project", theirs + "pwconv2"),
        Rule(f"{block}/layer_scale", theirs + "layer_scale_parameter", optional=True),
        *norm("norm", "{prefix}layernorm"),
        *dense("head", "classifier", optional=True),
    )


def model_from(config: Mapping[str, Any]) -> ConvNeXt:
    """The model of a `config.json`: with a head where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    depths, widths = option(config, "depths", (3, 3, 9, 3)), option(config, "hidden_sizes", (96, 192, 384, 768))
    refuse_unless({"num_stages": option(config, "num_stages", 4)}, {"num_stages": (len(depths),)})
    layer_scale = option(config, "layer_scale_init_value", 1e-6)
    return ConvNeXt(
        num_classes=num_classes(config, "ConvNextForImageClassification", "ConvNextModel"),
        depths=tuple(depths),
        widths=tuple(widths),
        patch_size=option(config, "patch_size", 4),
        activation=activation(config),
        layer_scale=layer_scale if layer_scale > 0 else None,
        stochastic_depth_rate=float(option(config, "drop_path_rate", 0.0)),
    )


def _convolution(ours: str, theirs: str) -> Layout:
    return Rule(f"{ours}/kernel", f"{theirs}.weight", CONV2D), Rule(f"{ours}/bias", f"{theirs}.bias")
