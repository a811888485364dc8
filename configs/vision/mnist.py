"""A small CNN on MNIST (LeCun et al., 1998), read from its IDX files in a folder.

jaxdl train --config configs/vision/mnist.py:FOLDER --workdir runs/mnist
"""

from jaxdl.augment import RandomCrop
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import idx
from jaxdl.models import LeNet
from jaxdl.optim import adam, one_cycle, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving


def get_config(path="data/mnist"):
    steps = ref(10 * 60_000 // 128)
    source = {split: spec(idx, path=path, split=split, labels=tuple("0123456789")) for split in ("train", "test")}
    return spec(
        Experiment,
        steps=steps,
        model=spec(LeNet, num_classes=10, channels=(32, 64), dense_width=256, batch_norm=True, dropout_rate=0.3),
        task=spec(Classification, num_classes=10, mean=(0.1307,), std=(0.3081,)),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.02,
            learning_rate=spec(one_cycle, peak=4e-3, steps=steps),
        ),
        augment=spec(RandomCrop, padding=2),
        train=spec(Pipeline, source=source["train"], batch_size=128),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=source["test"], batch_size=500), every_epochs=1.0)},
        saving=spec(Saving, every=1000, best="test/accuracy", mode="max"),
        ema_decay=0.999,
    )
