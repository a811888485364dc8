"""A ResNet-18 on images of your own, FOLDER/train/CLASS/... and FOLDER/val/CLASS/...: one folder for each class.

The argument is the folder, and the side of the images after a colon where it is not 224:

jaxdl train --config configs/vision/image_folder.py:FOLDER --workdir runs/mine
jaxdl train --config configs/vision/image_folder.py:FOLDER:64 --workdir runs/mine_small
"""

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ImageFolder
from jaxdl.data.transforms import CenterCrop, Decode, RandomFlip, RandomResizedCrop, ResizeSmallest
from jaxdl.models import ResNet
from jaxdl.optim import cosine, optimizer, sgd
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

EPOCHS = 90


def get_config(arg):
    folder, size = arg, 224
    if arg.rpartition(":")[2].isdecimal():
        folder, size = arg.rpartition(":")[0], int(arg.rpartition(":")[2])
    images = ImageFolder(path=f"{folder}/train")
    num_classes, batch_size = ref(len(images.labels)), ref(min(64, len(images)))
    steps = (EPOCHS * len(images) + batch_size - 1) // batch_size
    source = {split: spec(ImageFolder, path=f"{folder}/{split}") for split in ("train", "val")}
    train_transforms = (spec(Decode), spec(RandomResizedCrop, size=size, scale=(0.25, 1.0)), spec(RandomFlip))
    val_transforms = (spec(Decode), spec(ResizeSmallest, size=size * 8 // 7), spec(CenterCrop, size=size))
    val = spec(Pipeline, source=source["val"], batch_size=batch_size, transforms=val_transforms)
    return spec(
        Experiment,
        steps=steps,
        model=spec(ResNet, num_classes=num_classes, depth=18, stem="cifar" if size <= 64 else "imagenet"),
        task=spec(
            Classification,
            num_classes=num_classes,
            label_smoothing=0.1,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        optimizer=spec(
            optimizer,
            rule=spec(sgd, momentum=0.9, nesterov=True),
            l2=5e-4,
            learning_rate=spec(cosine, peak=0.05, steps=steps),
        ),
        train=spec(Pipeline, source=source["train"], batch_size=batch_size, transforms=train_transforms),
        evals={"val": spec(Evaluation, data=val, every_epochs=1.0)},
        saving=spec(Saving, best="val/accuracy", mode="max"),
        ema_decay=0.999,
    )
