"""Mixture density networks (Bishop, 1994, "Mixture density networks", section 5), the whole paper in one file.

The inverse of a noisy sinusoid has several answers: of x = t + 0.3 sin(2 pi t) + noise, t given x. A network trained
with the squared error answers with their mean, which is none of them. Here it outputs a mixture of Gaussians, whose
negative log-likelihood is the loss. The argument is the number of components; with 1 it is the plain network.

jaxdl train --config experiments/papers/mixture_density.py --workdir runs/mdn
jaxdl train --config experiments/papers/mixture_density.py:1 --workdir runs/mdn_1
jaxdl evaluate --workdir runs/mdn --allow experiments

Letters: B batch, K components.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.data.validation import non_finite
from jaxdl.metrics import Mean
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.train import Evaluation, Experiment, Saving
from jaxdl.types import Batch, Metrics, PyTree


def inverse_sinusoid(*, size: int = 1000, seed: int = 0) -> ArraySource:
    """`x` and `t` (scalars, float32): t uniform in [0, 1], x = t + 0.3 sin(2 pi t) + uniform noise in [-0.1, 0.1]."""
    random = np.random.default_rng(seed)
    t = random.uniform(size=size)
    x = t + 0.3 * np.sin(2 * np.pi * t) + random.uniform(-0.1, 0.1, size)
    return ArraySource(arrays={"x": x.astype(np.float32), "t": t.astype(np.float32)}, name="inverse sinusoid")


class MixtureDensityNetwork(nn.Module):
    """One hidden layer of hyperbolic tangents, and the parameters of a mixture of K Gaussians (equations 20 to 26).

    Attributes:
      num_components: K.
      width: Of the hidden layer.
    """

    num_components: int = 3
    width: int = 20

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Maps `x` (B,) to `logits`, `mean` and `log_scale`, each (B, K)."""
        hidden = nn.tanh(nn.Dense(self.width, name="hidden")(x[:, None]))
        names = ("logits", "mean", "log_scale")
        return {name: nn.Dense(self.num_components, name=name)(hidden) for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionalDensity:
    """The density of `t` (B,) given `x` (B,), by its negative log-likelihood (equation 29)."""

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """What the model sees."""
        return {"x": batch["x"]}

    def score(self, outputs: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        """The negative log-likelihood in nats."""
        return Mean.of(negative_log_likelihood(outputs, batch["t"]), batch["mask"]), {}

    def measure(self, outputs: PyTree, batch: Batch) -> Metrics:
        """The squared error of the conditional mean, and of the mean of the likeliest component."""
        answers = self.decode(outputs)
        errors = {name: jnp.square(answers[name] - batch["t"]) for name in ("mean", "mode")}
        return {f"mse_of_{name}": Mean.of(error, batch["mask"]) for name, error in errors.items()}

    def decode(self, outputs: PyTree) -> dict[str, jax.Array]:
        """The mean of the density and that of its likeliest component (sections 3 and 4), each (B,)."""
        share = nn.softmax(outputs["logits"])
        likeliest = jnp.argmax(outputs["logits"] - outputs["log_scale"], axis=-1)
        mode = jnp.take_along_axis(outputs["mean"], likeliest[:, None], axis=-1)[:, 0]
        return {"mean": jnp.sum(share * outputs["mean"], axis=-1), "mode": mode}

    def check(self, batch: Batch) -> list[tuple[int, str]]:
        """Rows that no density fits."""
        return non_finite({name: batch[name] for name in ("x", "t")})


def negative_log_likelihood(outputs: PyTree, t: jax.Array) -> jax.Array:
    """`-log p(t | x)` (B,) of the mixture, in a form that does not underflow."""
    scaled = (t[:, None] - outputs["mean"]) / jnp.exp(outputs["log_scale"])
    log_density = -0.5 * jnp.square(scaled) - outputs["log_scale"] - 0.5 * jnp.log(2 * jnp.pi)
    return -nn.logsumexp(nn.log_softmax(outputs["logits"]) + log_density, axis=-1)


def get_config(num_components="3"):
    steps = ref(4000)
    test = spec(Pipeline, source=spec(inverse_sinusoid, size=1000, seed=1), batch_size=200)
    return spec(
        Experiment,
        steps=steps,
        model=spec(MixtureDensityNetwork, num_components=int(num_components)),
        task=spec(ConditionalDensity),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            learning_rate=spec(cosine, peak=1e-2, steps=steps, warmup_steps=100),
            clip_norm=1.0,
        ),
        train=spec(Pipeline, source=spec(inverse_sinusoid, size=1000, seed=0), batch_size=200),
        evals={"test": spec(Evaluation, data=test, every=1000)},
        saving=spec(Saving, every=1000, best="test/loss", mode="min"),
        log_every=500,
    )
