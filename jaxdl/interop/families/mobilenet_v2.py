"""MobileNetV2 in Hugging Face's names."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import ConfigError
from jaxdl.interop.families.parts import dense, option, refuse_unless
from jaxdl.interop.families.resnet import batch_norm
from jaxdl.interop.families.vit import num_classes
from jaxdl.interop.layout import CONV2D, Layout, Prefix, Rule
from jaxdl.models.mobilenet_v2 import MobileNetV2
from jaxdl.nn.separable import rounded


def layout() -> Layout:
    """`transformers.MobileNetV2ForImageClassification` and `MobileNetV2Model`, the latter without a head.

    Their stem holds our first block; its weights from TensorFlow have a class for "background" before the others.
    """
    stem, block = "{prefix}conv_stem.", "{prefix}layer.{i}."
    return (
        Prefix(("mobilenet_v2.", "")),
        *_normalized("stem", stem + "first_conv"),
        *_normalized("block_0/depthwise", stem + "conv_3x3"),
        *_normalized("block_0/project", stem + "reduce_1x1"),
        *_normalized("block_{i+1}/expand", block + "expand_1x1"),
        *_normalized("block_{i+1}/depthwise", block + "conv_3x3"),
        *_normalized("block_{i+1}/project", block + "reduce_1x1"),
        *_normalized("last", "{prefix}conv_1x1"),
        *dense("head", "classifier", optional=True),
    )


def model_from(config: Mapping[str, Any]) -> MobileNetV2:
    """The model of a `config.json`: with a head where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, or an architecture, that is not implemented here.
    """
    fixed = {
        "depth_divisible_by": (8,),
        "min_depth": (8,),
        "expand_ratio": (6, 6.0),
        "output_stride": (32,),
        "first_layer_is_expansion": (True,),
        "finegrained_output": (True,),
        "hidden_act": ("relu6",),
    }
    refuse_unless(config, fixed)
    width = float(option(config, "depth_multiplier", 1.0))
    if rounded(32 * width) == rounded(16 * width):
        raise ConfigError(
            f"depth_multiplier={width}: where the first block has as many channels going out as in, ours has a "
            "shortcut, as in the paper, and theirs has none."
        )
    return MobileNetV2(
        num_classes=num_classes(config, "MobileNetV2ForImageClassification", "MobileNetV2Model"),
        width_factor=width,
        padding="same" if option(config, "tf_padding", True) else "half",
        epsilon=float(option(config, "layer_norm_eps", 1e-3)),
        dropout_rate=float(option(config, "classifier_dropout_prob", 0.8)),
    )


def _normalized(ours: str, theirs: str) -> Layout:
    kernel = Rule(f"{ours}_conv/kernel", f"{theirs}.convolution.weight", CONV2D)
    return (kernel, *batch_norm(f"{ours}_norm", f"{theirs}.normalization"))
