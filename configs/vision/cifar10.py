"""A CIFAR ResNet (He et al., 2016, section 4.2) on CIFAR-10 as image files, FOLDER/train/CLASS and FOLDER/test/CLASS.

The argument is the depth, and the folder after a colon where it is not data/cifar10:

jaxdl train --config configs/vision/cifar10.py:20 --workdir runs/cifar10
jaxdl train --config configs/vision/cifar10.py:56:FOLDER --workdir runs/cifar10_56
"""

from jaxdl.augment import RandomCrop, RandomFlip, compose
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ImageFolder, in_memory
from jaxdl.data.transforms import Decode
from jaxdl.models import CifarResNet
from jaxdl.optim import cosine, optimizer, sgd
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving


def get_config(arg="20"):
    depth, _, folder = arg.partition(":")
    steps = ref(200 * 50_000 // 128)
    # Decoded once: 150 MB of pixels, small enough to live on the device.
    source = {
        split: spec(
            in_memory,
            source=spec(ImageFolder, path=f"{folder or 'data/cifar10'}/{split}"),
            transforms=(spec(Decode),),
        )
        for split in ("train", "test")
    }
    return spec(
        Experiment,
        steps=steps,
        model=spec(CifarResNet, num_classes=10, depth=int(depth)),
        task=spec(Classification, num_classes=10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        # The paper's weight decay is a penalty, through the gradient: `l2` here.
        optimizer=spec(
            optimizer,
            rule=spec(sgd, momentum=0.9, nesterov=True),
            l2=5e-4,
            learning_rate=spec(cosine, peak=0.1, steps=steps, warmup_steps=400),
        ),
        augment=spec(compose, augmentations=(spec(RandomCrop, padding=4), spec(RandomFlip))),
        train=spec(Pipeline, source=source["train"], batch_size=128),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=source["test"], batch_size=500), every_epochs=5.0)},
        saving=spec(Saving, every=2000, best="test/accuracy", mode="max"),
    )
