"""A small CNN on Fashion-MNIST (Xiao et al., 2017), read from its IDX files in a folder.

jaxdl train --config configs/vision/fashion_mnist.py:FOLDER --workdir runs/fashion
"""

from jaxdl.augment import RandomCrop, RandomFlip, compose
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import idx
from jaxdl.models import LeNet
from jaxdl.optim import adam, one_cycle, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def get_config(path="data/fashion-mnist"):
    steps = ref(15 * 60_000 // 128)
    source = {split: spec(idx, path=path, split=split, labels=LABELS) for split in ("train", "test")}
    return spec(
        Experiment,
        steps=steps,
        model=spec(LeNet, num_classes=10, channels=(32, 64), dense_width=256, batch_norm=True, dropout_rate=0.3),
        task=spec(Classification, num_classes=10, label_smoothing=0.05, mean=(0.286,), std=(0.353,)),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.02,
            learning_rate=spec(one_cycle, peak=4e-3, steps=steps),
        ),
        augment=spec(compose, augmentations=(spec(RandomCrop, padding=2), spec(RandomFlip))),
        train=spec(Pipeline, source=source["train"], batch_size=128),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=source["test"], batch_size=500), every_epochs=1.0)},
        saving=spec(Saving, every=1000, best="test/accuracy", mode="max"),
        ema_decay=0.999,
    )
