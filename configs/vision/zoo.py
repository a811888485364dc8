"""Every image classifier of jaxdl, made small, on the handwritten digits that scikit-learn carries.

The argument is the name; docs/recipes.md has what each reaches. Some see the 8 x 8 pixels enlarged.

jaxdl train --config configs/vision/zoo.py:resnet --workdir runs/resnet
jaxdl train --config configs/vision/zoo.py:vit --workdir runs/vit
"""

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits, in_memory
from jaxdl.data.transforms import Resize
from jaxdl.errors import ConfigError
from jaxdl.models import (
    MLP,
    VGG,
    ConvNeXt,
    EfficientNet,
    LeNet,
    MLPMixer,
    MobileNetV2,
    MobileNetV3,
    ResNet,
    ViT,
    WideResNet,
)
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

TRANSFORMER = {"patch_size": 2, "features": 64, "num_layers": 4, "num_heads": 4, "hidden": 128}
# Running statistics of 0.99, and dropping so much, are for many more steps than these.
FEW = {"stem_stride": 1, "momentum": 0.9, "dropout_rate": 0.0}

# The side of the images, how many steps, and the model.
ZOO = {
    "mlp": (8, 2000, MLP, {"widths": (128,)}),
    "mlp_mixer": (8, 600, MLPMixer, {"patch_size": 2, "depth": 4, "width": 64}),
    "lenet": (8, 1000, LeNet, {"dropout_rate": 0.3}),
    "vgg": (32, 300, VGG, {"depth": 11, "width": 16, "hidden": (), "batch_norm": True}),
    "resnet": (8, 600, ResNet, {"depth": 18, "stem": "cifar", "width": 16}),
    "wide_resnet": (8, 600, WideResNet, {"depth": 16, "width_factor": 2}),
    "mobilenet_v2": (16, 600, MobileNetV2, {"width_factor": 0.5, **FEW}),
    "mobilenet_v3": (16, 600, MobileNetV3, {"variant": "small", "width_factor": 0.5, **FEW}),
    "efficientnet": (
        16,
        400,
        EfficientNet,
        {"width_factor": 0.35, "depth_factor": 0.5, "stochastic_depth_rate": 0.0, **FEW},
    ),
    "convnext": (16, 600, ConvNeXt, {"patch_size": 2, "depths": (2, 2), "widths": (32, 64), "layer_scale": 0.1}),
    "vit": (8, 600, ViT, {**TRANSFORMER, "pooling": "mean"}),
    "deit": (8, 600, ViT, {**TRANSFORMER, "distilled": True}),
}


def get_config(arg):
    if arg not in ZOO:
        raise ConfigError(f"The zoo has {', '.join(ZOO)}, not {arg!r}: configs/vision/zoo.py:NAME.")
    side, steps, model, options = ZOO[arg]
    steps = ref(steps)
    source = {split: spec(digits, split=split) for split in ("train", "test")}
    if side > 8:
        enlarge = (spec(Resize, size=side),)
        source = {split: spec(in_memory, source=source[split], transforms=enlarge) for split in source}
    return spec(
        Experiment,
        steps=steps,
        model=spec(model, num_classes=10, **options),
        task=spec(Classification, num_classes=10),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.05,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=steps // 10),
            clip_norm=1.0,
        ),
        train=spec(Pipeline, source=source["train"], batch_size=64),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=source["test"], batch_size=120))},
        saving=spec(Saving),
    )
