"""EfficientNet in Hugging Face's names, and in those of the packages `efficientnet_pytorch` and its Lite form."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.families.parts import activation, dense, option, refuse_unless
from jaxdl.interop.families.resnet import batch_norm
from jaxdl.interop.families.vit import num_classes
from jaxdl.interop.layout import CONV2D, SQUEEZE, Layout, Prefix, Rule
from jaxdl.models.efficientnet import STAGES, EfficientNet
from jaxdl.nn.separable import rounded

# A 1 x 1 convolution of theirs over pooled channels is a dense layer of ours.
POOLED = CONV2D.then(SQUEEZE(0, 1))


def pytorch() -> Layout:
    """`efficientnet_pytorch.EfficientNet` ("b0" to "b7") and `efficientnet_lite_pytorch.EfficientNet` ("lite0" ...)."""
    block = "_blocks.{i}."
    return (
        *_convolution("stem_conv", "_conv_stem"),
        *batch_norm("stem_norm", "_bn0"),
        *_convolution("block_{i}/expand_conv", block + "_expand_conv"),
        *batch_norm("block_{i}/expand_norm", block + "_bn0"),
        *_convolution("block_{i}/depthwise_conv", block + "_depthwise_conv"),
        *batch_norm("block_{i}/depthwise_norm", block + "_bn1"),
        *_squeeze_excite(block + "_se_reduce", block + "_se_expand"),
        *_convolution("block_{i}/project_conv", block + "_project_conv"),
        *batch_norm("block_{i}/project_norm", block + "_bn2"),
        *_convolution("last_conv", "_conv_head"),
        *batch_norm("last_norm", "_bn1"),
        *dense("head", "_fc", optional=True),
    )


def layout() -> Layout:
    """`transformers.EfficientNetForImageClassification` and `EfficientNetModel`, the latter without a head."""
    block = "{prefix}encoder.blocks.{i}."
    return (
        Prefix(("efficientnet.", "")),
        *_convolution("stem_conv", "{prefix}embeddings.convolution"),
        *batch_norm("stem_norm", "{prefix}embeddings.batchnorm"),
        *_convolution("block_{i}/expand_conv", block + "expansion.expand_conv"),
        *batch_norm("block_{i}/expand_norm", block + "expansion.expand_bn"),
        *_convolution("block_{i}/depthwise_conv", block + "depthwise_conv.depthwise_conv"),
        *batch_norm("block_{i}/depthwise_norm", block + "depthwise_conv.depthwise_norm"),
        *_squeeze_excite(block + "squeeze_excite.reduce", block + "squeeze_excite.expand"),
        *_convolution("block_{i}/project_conv", block + "projection.project_conv"),
        *batch_norm("block_{i}/project_norm", block + "projection.project_bn"),
        *_convolution("last_conv", "{prefix}encoder.top_conv"),
        *batch_norm("last_norm", "{prefix}encoder.top_bn"),
        *dense("head", "classifier", optional=True),
    )


def model_from(config: Mapping[str, Any]) -> EfficientNet:
    """The model of a `config.json`: with a head where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    width = float(option(config, "width_coefficient", 2.0))
    last = rounded(1280 * width)
    fixed = {
        "depth_divisor": 8,
        "kernel_sizes": [stage.kernel_size for stage in STAGES],
        "strides": [stage.stride for stage in STAGES],
        "num_block_repeats": [stage.repeats for stage in STAGES],
        "expand_ratios": [stage.expansion for stage in STAGES],
        "in_channels": [32, *(stage.features for stage in STAGES[:-1])],
        "out_channels": [stage.features for stage in STAGES],
        "squeeze_expansion_ratio": 0.25,
        "pooling_type": "mean",
        "hidden_dim": last,
    }
    refuse_unless({"hidden_dim": 2560, **config}, {key: (value,) for key, value in fixed.items()})
    channels = [32, *(stage.features for stage in STAGES)]
    alike = [
        stage.features
        for before, stage in zip(channels, STAGES)
        if stage.stride == 1 and rounded(before * width) == rounded(stage.features * width)
    ]
    if alike:
        raise ConfigError(
            f"width_coefficient={width}: where a stage's first block has as many channels going out as in (those of "
            f"{alike} here), ours has a shortcut, as in the paper's code, and theirs has none."
        )
    return EfficientNet(
        num_classes=num_classes(config, "EfficientNetForImageClassification", "EfficientNetModel"),
        width_factor=width,
        depth_factor=float(option(config, "depth_coefficient", 3.1)),
        activation=activation(config, default="swish"),
        epsilon=float(option(config, "batch_norm_eps", 1e-3)),
        dropout_rate=float(option(config, "dropout_rate", 0.5)),
        stochastic_depth_rate=float(option(config, "drop_connect_rate", 0.2)),
    )


def _convolution(ours: str, theirs: str) -> Layout:
    return (Rule(f"{ours}/kernel", f"{theirs}.weight", CONV2D),)


def _squeeze_excite(reduce: str, expand: str) -> Layout:
    return tuple(
        rule
        for name, theirs in (("reduce", reduce), ("expand", expand))
        for rule in (
            Rule(f"block_{{i}}/squeeze_excite/{name}/kernel", f"{theirs}.weight", POOLED),
            Rule(f"block_{{i}}/squeeze_excite/{name}/bias", f"{theirs}.bias"),
        )
    )
