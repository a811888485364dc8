"""The fastest training loop we can write by hand in JAX, as the limit of what a framework may reach.

Data and shuffled indices are on the device, everything that changes is donated, and nothing is fetched. Steps of the
MLP are scanned, many to a call; convolutions are not, as XLA makes them an order of magnitude slower inside a loop on
CPU. Pooling is a maximum over a reshaped axis, whose gradient is cheap.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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

Params = dict[str, jax.Array]
Shapes = dict[str, tuple[int, ...]]


class State(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Params
    mean: Params
    square: Params
    statistics: Params


def run(workload: str, seconds: float) -> dict[str, Any]:
    """Trains a workload and times it."""
    settings = WORKLOADS[workload]
    shapes, forward = {"mlp": _MLP, "lenet": _LENET, "resnet20": _RESNET20}[settings.model]
    images, labels = (jax.device_put(array) for array in data(settings))
    state = _create_state(shapes, settings)
    advance = jax.jit(partial(_advance, forward), donate_argnums=0)
    calls = _indices(settings)

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps // settings.steps_per_call):
            state, loss = advance(state, images, labels, next(calls))
        jax.block_until_ready((state, loss))

    return measure(train, seconds, settings.steps_per_call)


def _create_state(shapes: Shapes, settings: Workload) -> State:
    """Made by numpy, which compiles nothing."""
    random = np.random.default_rng(0)
    params, statistics = {}, {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0
        params[name] = (scale * random.standard_normal(shape) + name.endswith("scale")).astype(np.float32)
        if name.endswith("scale"):
            statistics |= {f"{name}/mean": np.zeros(shape, np.float32), f"{name}/var": np.ones(shape, np.float32)}
    check_parameters(settings, sum(value.size for value in params.values()))
    zeros = {name: np.zeros_like(value) for name, value in params.items()}
    return jax.device_put(State(np.int32(0), params, zeros, {name: z.copy() for name, z in zeros.items()}, statistics))


def _indices(settings: Workload) -> Iterator[np.ndarray]:
    """Rows of shuffled epochs, (steps per call, B)."""
    random = np.random.default_rng(0)
    per_epoch = settings.examples // settings.batch_size
    epochs = settings.steps_per_call // math.gcd(settings.steps_per_call, per_epoch)  # whole calls and whole epochs
    while True:
        order = np.concatenate([random.permutation(settings.examples).astype(np.int32) for _ in range(epochs)])
        yield from order.reshape(-1, settings.steps_per_call, settings.batch_size)


def _advance(
    forward: Callable[..., Any], state: State, images: jax.Array, labels: jax.Array, index_KB: jax.Array
) -> tuple[State, jax.Array]:
    """K steps, and the sum of their losses."""

    def body(state: State, index_B: jax.Array) -> tuple[State, jax.Array]:
        return _step(forward, state, images[index_B], labels[index_B])

    if index_KB.shape[0] == 1:
        return body(state, index_KB[0])
    state, losses = jax.lax.scan(body, state, index_KB)
    return state, losses.sum()


def _step(forward: Callable[..., Any], state: State, image: jax.Array, label: jax.Array) -> tuple[State, jax.Array]:
    def loss_function(params: Params) -> tuple[jax.Array, Params]:
        logits, statistics = forward(params, state.statistics, image)
        chosen = jnp.sum(jnp.where(label[:, None] == jnp.arange(CLASSES), logits, 0), axis=1)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen), statistics

    (loss, statistics), gradients = jax.value_and_grad(loss_function, has_aux=True)(state.params)
    step = state.step + 1
    correct_mean, correct_square = 1 - 0.9**step, 1 - 0.999**step
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, gradients)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, state.square, gradients)

    def moved(parameter: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
        direction = (m / correct_mean) / (jnp.sqrt(s / correct_square) + 1e-8)
        return parameter - LEARNING_RATE * (direction + WEIGHT_DECAY * parameter)

    return State(step, jax.tree.map(moved, state.params, mean, square), mean, square, statistics), loss


def _conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    padding = ((1, 1), (1, 1))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _mlp(params: Params, statistics: Params, image: jax.Array) -> tuple[jax.Array, Params]:
    hidden = jax.nn.relu(image.reshape(image.shape[0], -1) @ params["hidden"] + params["hidden_bias"])
    return hidden @ params["head"] + params["head_bias"], statistics


def _lenet(params: Params, statistics: Params, image: jax.Array) -> tuple[jax.Array, Params]:
    x = image
    for index in range(2):
        x = _conv(x, params[f"conv_{index}"]) + params[f"conv_{index}_bias"]
        batch, height, width, channels = x.shape
        # A rectifier commutes with the maximum, and has a quarter of the work after it.
        x = jax.nn.relu(x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4)))
    return _mlp(params, statistics, x)


def _resnet20(params: Params, statistics: Params, image: jax.Array) -> tuple[jax.Array, Params]:
    new: Params = {}

    def norm(x: jax.Array, name: str) -> jax.Array:
        mean = x.mean((0, 1, 2))
        var = jnp.maximum((x * x).mean((0, 1, 2)) - mean * mean, 0)
        for kind, value in (("mean", mean), ("var", var)):
            key = f"{name}_scale/{kind}"
            new[key] = 0.9 * statistics[key] + 0.1 * jax.lax.stop_gradient(value)
        scale = params[f"{name}_scale"] * jax.lax.rsqrt(var + 1e-5)
        return x * scale + (params[f"{name}_bias"] - mean * scale)

    x = jax.nn.relu(norm(_conv(image, params["stem"]), "stem_norm"))
    for block, (channels, stride) in enumerate(_blocks()):
        y = jax.nn.relu(norm(_conv(x, params[f"block_{block}_conv_0"], stride), f"block_{block}_norm_0"))
        y = norm(_conv(y, params[f"block_{block}_conv_1"]), f"block_{block}_norm_1")
        added = channels - x.shape[-1]
        x = jax.nn.relu(y + jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, added))))
    return x.mean((1, 2)) @ params["head"] + params["head_bias"], new


def _blocks() -> list[tuple[int, int]]:
    return [(channels, stride if index == 0 else 1) for channels, stride in STAGES for index in range(3)]


def _resnet20_shapes() -> Shapes:
    shapes: Shapes = {"stem": (3, 3, 3, 16), "stem_norm_scale": (16,), "stem_norm_bias": (16,)}
    channels_in = 16
    for block, (channels, _) in enumerate(_blocks()):
        for index in range(2):
            shapes[f"block_{block}_conv_{index}"] = (3, 3, channels_in, channels)
            shapes[f"block_{block}_norm_{index}_scale"] = shapes[f"block_{block}_norm_{index}_bias"] = (channels,)
            channels_in = channels
    return shapes | {"head": (64, CLASSES), "head_bias": (CLASSES,)}


_HEAD: Shapes = {"hidden_bias": (128,), "head": (128, CLASSES), "head_bias": (CLASSES,)}
_MLP = ({"hidden": (64, 128), **_HEAD}, _mlp)
_LENET = (
    {
        "conv_0": (3, 3, 1, 32),
        "conv_0_bias": (32,),
        "conv_1": (3, 3, 32, 64),
        "conv_1_bias": (64,),
        "hidden": (3136, 128),
        **_HEAD,
    },
    _lenet,
)
_RESNET20 = (_resnet20_shapes(), _resnet20)


if __name__ == "__main__":
    main(run)
