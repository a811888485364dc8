"""A generative adversarial network (Goodfellow et al., 2014) on handwritten digits, the whole paper in one file.

Two networks with a loss and an optimizer each: a learner of its own, where `supervised` has one of each. Everything
else (data, evaluation, checkpoints, resuming, meshes) stays what it is.

jaxdl train --config experiments/papers/gan.py --workdir runs/gan
jaxdl evaluate --workdir runs/gan --allow experiments

Letters: B batch, P pixels of an image, Z numbers of a latent vector.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from jaxdl import rng
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.learners import Learner, TrainState
from jaxdl.metrics import Mean
from jaxdl.optim import adam, optimizer
from jaxdl.train import Evaluation, Experiment, Saving

SAMPLES = 0
"""The seed of the latent vectors to evaluate with: one set, so evaluate on one batch."""


class Generator(nn.Module):
    """Latent vectors (B, Z) to images (B, h, w, 1) in (0, 1)."""

    shape: tuple[int, int] = (8, 8)
    width: int = 128

    @nn.compact
    def __call__(self, latent_BZ: jax.Array) -> jax.Array:
        """Draws images."""
        x = latent_BZ
        for index in range(2):
            x = nn.relu(nn.Dense(self.width, name=f"hidden_{index}")(x))
        x = nn.sigmoid(nn.Dense(self.shape[0] * self.shape[1], name="pixels")(x))
        return x.reshape(-1, *self.shape, 1)


class Discriminator(nn.Module):
    """Images (B, h, w, 1) to the logit (B,) that an image is real."""

    width: int = 128

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Judges images."""
        x = image.reshape(image.shape[0], -1) * 2 - 1
        for index in range(2):
            x = nn.leaky_relu(nn.Dense(self.width, name=f"hidden_{index}")(x), 0.2)
        return nn.Dense(1, name="logit")(x)[:, 0]


class FrechetDistance(struct.PyTreeNode):
    """The distance of two sets of images as Gaussians over their pixels (Dowson and Landau, 1982), kept as sums.

    For each set: `count` (), `total` (P,) and `products` (P, P).
    """

    real: dict[str, jax.Array]
    made: dict[str, jax.Array]

    @classmethod
    def of(cls, real: jax.Array, made: jax.Array, mask: jax.Array) -> "FrechetDistance":
        """Of images (B, h, w, 1) with values in [0, 1]; a row of padding counts on neither side."""

        def sums(image):
            x_BP = image.reshape(image.shape[0], -1)
            return {"count": jnp.sum(mask), "total": mask @ x_BP, "products": (x_BP * mask[:, None]).T @ x_BP}

        return cls(real=sums(real), made=sums(made))

    def compute(self) -> jax.Array:
        """The squared distance, in units of squared pixel values."""
        (mean, cov), (other_mean, other_cov) = _moments(self.real), _moments(self.made)
        values, vectors = jnp.linalg.eigh(cov)
        root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[None]) @ vectors.T
        cross = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(root @ other_cov @ root), 0))
        return jnp.sum((mean - other_mean) ** 2) + jnp.trace(cov + other_cov) - 2 * jnp.sum(cross)


def _moments(sums):
    sums = jax.tree.map(jnp.asarray, sums)
    count = jnp.maximum(sums["count"], 1)
    mean = sums["total"] / count
    return mean, sums["products"] / count - jnp.outer(mean, mean)


def adversarial(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    latent_size: int = 32,
) -> Learner:
    """The learner: a step of the discriminator, then one of the generator with its non-saturating loss (section 3)."""

    def latent(key, batch):
        return jax.random.normal(key, (len(batch["image"]), latent_size))

    def init(key, batch):
        noise, image = latent(key, batch), jnp.zeros(batch["image"].shape)
        params = {
            "generator": generator.init(rng.stream(key, "generator"), noise)["params"],
            "discriminator": discriminator.init(rng.stream(key, "discriminator"), image)["params"],
        }
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=rng.stream(key, "train"),
            params=params,
            model_state={},
            opt_state={
                "generator": generator_optimizer.init(params["generator"]),
                "discriminator": discriminator_optimizer.init(params["discriminator"]),
            },
        )

    def make(params, key, batch):
        return generator.apply({"params": params}, latent(key, batch))

    def judge(params, image):
        return discriminator.apply({"params": params}, image)

    def discriminator_loss(params, real, made, mask):
        real_loss, made_loss = nn.softplus(-judge(params, real)), nn.softplus(judge(params, made))
        return Mean.of(real_loss + made_loss, mask).compute()

    def generator_loss(params, judging, key, batch):
        return Mean.of(nn.softplus(-judge(judging, make(params, key, batch))), batch["mask"]).compute()

    def step(state, batch):
        key = rng.stream(state.key, "latent", state.step)
        players, made = dict(state.params), make(state.params["generator"], key, batch)
        loss_d, grads_d = jax.value_and_grad(discriminator_loss)(
            players["discriminator"], _real(batch), made, batch["mask"]
        )
        updates, opt_d = discriminator_optimizer.update(
            grads_d, state.opt_state["discriminator"], players["discriminator"]
        )
        players["discriminator"] = optax.apply_updates(players["discriminator"], updates)

        loss_g, grads_g = jax.value_and_grad(generator_loss)(
            players["generator"], players["discriminator"], jax.random.fold_in(key, 1), batch
        )
        updates, opt_g = generator_optimizer.update(grads_g, state.opt_state["generator"], players["generator"])
        players["generator"] = optax.apply_updates(players["generator"], updates)
        state = state.replace(
            step=state.step + 1, params=players, opt_state={"generator": opt_g, "discriminator": opt_d}
        )
        losses = {"loss": loss_d + loss_g, "discriminator_loss": loss_d, "generator_loss": loss_g}
        norm = optax.tree.norm((grads_d, grads_g))
        return state, {name: Mean.of(value) for name, value in {**losses, "grad_norm": norm}.items()}

    def predict(state, batch):
        # The same latent vectors every time, so that evaluations can be compared.
        return make(state.params["generator"], jax.random.key(SAMPLES), batch)

    def evaluate(state, batch):
        real, made = _real(batch), predict(state, batch)
        logits = {name: judge(state.params["discriminator"], image) for name, image in (("real", real), ("made", made))}
        return {
            "frechet_distance": FrechetDistance.of(real, made, batch["mask"]),
            "found_real": Mean.of(logits["real"] > 0, batch["mask"]),
            "found_made": Mean.of(logits["made"] < 0, batch["mask"]),
        }

    return Learner(init, step, evaluate, predict)


def _real(batch):
    return batch["image"].astype(jnp.float32) / 255


def get_config():
    test = spec(Pipeline, source=spec(digits, split="test"), batch_size=360)
    player = {"rule": spec(adam, b1=0.5), "learning_rate": 1e-3}
    return spec(
        Experiment,
        steps=5000,
        learner=spec(
            adversarial,
            generator=spec(Generator),
            discriminator=spec(Discriminator),
            generator_optimizer=spec(optimizer, **player),
            discriminator_optimizer=spec(optimizer, **player),
        ),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64),
        evals={"test": spec(Evaluation, data=test, every=1000)},
        saving=spec(Saving, every=1000, best="test/frechet_distance", mode="min"),
        log_every=500,
    )
