"""A multilayer perceptron on the digits that scikit-learn carries: thousands of steps a second on a laptop.

jaxdl train --config configs/vision/digits_mlp.py --workdir runs/digits_mlp
"""

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving


def get_config():
    steps = ref(5000)
    return spec(
        Experiment,
        steps=steps,
        model=spec(MLP, num_classes=10, widths=(128,)),
        task=spec(Classification, num_classes=10),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.01,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=100),
        ),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=32),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=1000)
        },
        saving=spec(Saving, every=1000, best="test/accuracy", mode="max"),
    )
