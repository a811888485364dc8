"""ResNet in Hugging Face's names and in torchvision's."""

from collections.abc import Mapping
from typing import Any, Literal

from jaxdl.errors import ConfigError
from jaxdl.interop.families.parts import activation, dense, option, refuse_unless
from jaxdl.interop.families.vit import num_classes
from jaxdl.interop.layout import CONV2D, Layout, Prefix, Rule, num_batches_tracked
from jaxdl.models.resnet import BLOCKS, ResNet


def layout() -> Layout:
    """`transformers.ResNetForImageClassification` and `ResNetModel`, the latter without a head.

    Their normalization has the epsilon of ours, 1e-5, and a momentum of 0.1, which is 0.9 here. Models with
    `downsample_in_bottleneck` (version 1 of the network) have the same names but are another function.
    """
    stage = "{prefix}encoder.stages.{i}.layers.{j}."
    return (
        Prefix(("resnet.", "")),
        *_normalized("stem_conv", "stem_norm", "{prefix}embedder.embedder.", "convolution", "normalization"),
        *_normalized(
            "stage_{i}_block_{j}/conv_{k}", "stage_{i}_block_{j}/norm_{k}", stage + "layer.{k}.", "convolution",
            "normalization",
        ),
        *_normalized(
            "stage_{i}_block_{j}/shortcut_conv", "stage_{i}_block_{j}/shortcut_norm", stage + "shortcut.",
            "convolution", "normalization",
        ),
        *dense("head", "classifier.1", optional=True),
    )  # fmt: skip


def model_from(config: Mapping[str, Any]) -> ResNet:
    """The model of a `config.json`: with a head where `architectures` says that it classifies.

    Raises:
      ConfigError: the config has an option, an architecture, or a number of blocks that is not implemented here.
    """
    refuse_unless(config, {"downsample_in_first_stage": (False,), "downsample_in_bottleneck": (False,)})
    bottleneck = option(config, "layer_type", "bottleneck") == "bottleneck"
    blocks = tuple(option(config, "depths", (3, 4, 6, 3)))
    sizes = tuple(option(config, "hidden_sizes", (256, 512, 1024, 2048)))
    width = option(config, "embedding_size", 64)
    known: tuple[Literal[18, 34, 50, 101, 152], ...] = (50, 101, 152) if bottleneck else (18, 34)
    depths = [depth for depth in known if BLOCKS[depth][1] == blocks]
    if not depths or sizes != tuple((4 if bottleneck else 1) * width * 2**stage for stage in range(4)):
        kind = "bottleneck" if bottleneck else "basic"
        raise ConfigError(f"depths={blocks} and hidden_sizes={sizes} of {kind} blocks are not those of a ResNet here.")
    return ResNet(
        num_classes=num_classes(config, "ResNetForImageClassification", "ResNetModel"),
        depth=depths[0],
        width=width,
        activation=activation(config, default="relu"),
    )


def torchvision() -> Layout:
    """`torchvision.models.resnet18` to `resnet152`, and `wide_resnet50_2` with `width_factor=2`."""
    block = "layer{i+1}.{j}."
    return (
        *_normalized("stem_conv", "stem_norm", "", "conv1", "bn1"),
        *_normalized(
            "stage_{i}_block_{j}/conv_{k}", "stage_{i}_block_{j}/norm_{k}", block, "conv{k+1}", "bn{k+1}"
        ),
        *_normalized(
            "stage_{i}_block_{j}/shortcut_conv", "stage_{i}_block_{j}/shortcut_norm", block, "downsample.0",
            "downsample.1",
        ),
        *dense("head", "fc", optional=True),
    )  # fmt: skip


def _normalized(conv: str, norm: str, prefix: str, their_conv: str, their_norm: str) -> Layout:
    """A convolution without bias, and the batch normalization after it."""
    return (Rule(f"{conv}/kernel", f"{prefix}{their_conv}.weight", CONV2D), *batch_norm(norm, prefix + their_norm))


def batch_norm(ours: str, theirs: str) -> Layout:
    """A batch normalization of PyTorch: parameters, running statistics and step counter."""
    return (
        Rule(f"{ours}/scale", f"{theirs}.weight"),
        Rule(f"{ours}/bias", f"{theirs}.bias"),
        Rule(f"batch_stats/{ours}/mean", f"{theirs}.running_mean"),
        Rule(f"batch_stats/{ours}/var", f"{theirs}.running_var"),
        num_batches_tracked(f"{theirs}.num_batches_tracked", f"{theirs}.running_mean"),
    )
