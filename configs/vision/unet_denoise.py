"""A U-Net (Ronneberger et al. 2015) that removes noise from the handwritten digits that scikit-learn carries.

Pixels are in [0, 1]; the noise is Gaussian, with standard deviation 0.3, so that doing nothing has a mean squared error
of 0.09. Each training image comes with eight draws of it.

jaxdl train --config configs/vision/unet_denoise.py --workdir runs/denoise
"""

import numpy as np
from flax import linen as nn

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, digits
from jaxdl.models import UNet
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import Regression
from jaxdl.train import Evaluation, Experiment, Saving


class Denoiser(nn.Module):
    """The image less the noise that a U-Net finds in it."""

    width: int = 16
    depth: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        """Maps `image` (B, h, w, 1) to (B, h * w), as the targets are."""
        noise = UNet(num_classes=1, width=self.width, depth=self.depth, batch_norm=True, name="unet")
        return (image - noise(image, train=train)).reshape(len(image), -1)


def noisy_digits(*, split: str = "train", draws: int = 1, seed: int = 0) -> ArraySource:
    """`image` (8, 8, 1) with noise and `target` (64,) without, float32."""
    clean = np.repeat(np.asarray(digits(split=split).arrays["image"], np.float32) / 255, draws, axis=0)
    noise = np.random.default_rng(seed).normal(scale=0.3, size=clean.shape).astype(np.float32)
    return ArraySource(arrays={"image": clean + noise, "target": clean.reshape(len(clean), -1)}, name="noisy digits")


def get_config():
    steps = ref(1500)
    train, test = spec(noisy_digits, draws=8), spec(noisy_digits, split="test", seed=1)
    return spec(
        Experiment,
        steps=steps,
        model=spec(Denoiser),
        task=spec(Regression, feature="image"),
        optimizer=spec(
            optimizer, rule=spec(adam), learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=steps // 10)
        ),
        train=spec(Pipeline, source=train, batch_size=64),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=test, batch_size=120))},
        saving=spec(Saving),
    )
