"""Flax and Optax as their examples write it: host batches, one jitted step each, nothing donated."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

from benchmarks.peers.measure import main, measure
from benchmarks.peers.workloads import (
    CLASSES,
    LEARNING_RATE,
    STAGES,
    WEIGHT_DECAY,
    WORKLOADS,
    Workload,
    check_parameters,
    data,
)


class MLP(nn.Module):
    """One hidden layer of 128."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images (B, h, w, channels) to logits (B, C)."""
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(CLASSES)(x)


class LeNet(nn.Module):
    """Two convolutions with pooling, two dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images (B, h, w, channels) to logits (B, C)."""
        for channels in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3))(x)), (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(CLASSES)(x)


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2, with the parameter-free shortcut."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images (B, h, w, channels) to logits (B, C)."""
        x = nn.relu(_norm()(nn.Conv(16, (3, 3), use_bias=False)(x)))
        for channels, stage_stride in STAGES:
            for index in range(3):
                stride = stage_stride if index == 0 else 1
                y = nn.relu(_norm()(nn.Conv(channels, (3, 3), stride, padding=1, use_bias=False)(x)))
                y = _norm()(nn.Conv(channels, (3, 3), padding=1, use_bias=False)(y))
                added = channels - x.shape[-1]
                x = nn.relu(y + jax.numpy.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, added))))
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class TrainState(train_state.TrainState):
    """Parameters, optimizer state and the running averages of batch normalization."""

    batch_stats: Any


def run(workload: str, seconds: float) -> dict[str, Any]:
    """Trains a workload and times it."""
    settings = WORKLOADS[workload]
    model = {"mlp": MLP, "lenet": LeNet, "resnet20": ResNet20}[settings.model]()
    state = _create_state(model, settings)
    batches = _batches(*data(settings), settings.batch_size)
    step = jax.jit(_train_step(model))

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, loss = step(state, *next(batches))
        jax.block_until_ready((state, loss))

    return measure(train, seconds)


def _norm() -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=False, momentum=0.9)


def _create_state(model: nn.Module, settings: Workload) -> TrainState:
    variables = model.init(jax.random.key(0), np.ones((1, *settings.shape), np.float32))
    check_parameters(settings, sum(leaf.size for leaf in jax.tree.leaves(variables["params"])))
    return TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        batch_stats=variables.get("batch_stats", {}),
    )


def _train_step(model: nn.Module) -> Callable[..., Any]:
    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        def loss_function(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            logits, changed = model.apply(variables, images, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed

        (loss, changed), gradients = jax.value_and_grad(loss_function, has_aux=True)(state.params)
        statistics = changed.get("batch_stats", {})
        return state.apply_gradients(grads=gradients, batch_stats=statistics), loss

    return step


def _batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    while True:
        for index in random.permutation(len(images)).reshape(-1, batch_size):
            yield images[index], labels[index]


if __name__ == "__main__":
    main(run)
