"""A small CNN on the handwritten digits that scikit-learn carries: the first thing to run.

jaxdl train --config configs/vision/digits_cnn.py --workdir runs/digits
"""

from jaxdl.augment import RandomCrop
from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import LeNet
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving


def get_config():
    steps = ref(1500)
    return spec(
        Experiment,
        steps=steps,
        model=spec(LeNet, num_classes=10, channels=(32, 64), dense_width=128, dropout_rate=0.3),
        task=spec(Classification, num_classes=10),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.01,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=50),
        ),
        augment=spec(RandomCrop, padding=1),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=250)
        },
        saving=spec(Saving, every=500, best="test/accuracy", mode="max"),
        ema_decay=0.99,
    )
