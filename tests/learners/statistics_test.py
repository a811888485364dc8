"""Frozen layers stay as they are, statistics included, and nothing is differentiated below those that train."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxdl.inspection import flops
from jaxdl.learners import supervised
from jaxdl.learners.statistics import frozen_layers
from jaxdl.losses import cross_entropy
from jaxdl.metrics import Mean
from jaxdl.models import ResNet
from jaxdl.optim import optimizer, sgd

SGD = optimizer(rule=sgd(), learning_rate=0.1)
PROBE = ("(?!head/).*",)
NET = ResNet(num_classes=3, depth=18, width=2, stem="cifar")


@dataclasses.dataclass(frozen=True)
class Task:
    def inputs(self, batch):
        return {"image": batch["image"]}

    def score(self, outputs, batch):
        return Mean.of(cross_entropy(outputs, batch["label"]), batch["mask"]), {}

    def measure(self, outputs, batch):
        return {}


def make_batch(seed=0, size=8):
    rng = np.random.default_rng(seed)
    image = rng.normal(2, 3, size=(size, 8, 8, 3)).astype(np.float32)
    return {"image": image, "label": rng.integers(0, 3, size), "mask": np.ones(size, np.float32)}


def step(model=NET, batch=None, **settings):
    batch = make_batch() if batch is None else batch
    learner = supervised(model, Task(), SGD, **settings)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    return learner, state, *jax.jit(learner.step)(state, batch)


@pytest.mark.parametrize("remat", [False, True])
def test_a_linear_probe_trains_on_what_it_is_evaluated_on(remat):
    learner, before, after, metrics = step(NET.clone(remat=remat), frozen=PROBE)
    chex.assert_trees_all_equal(after.model_state, before.model_state)
    np.testing.assert_allclose(
        metrics["loss"].compute(), learner.evaluate(before, make_batch())["loss"].compute(), rtol=1e-5
    )


def test_statistics_go_on_where_it_is_asked_for_and_where_layers_train():
    _, before, after, _ = step(frozen=PROBE, frozen_statistics=False)
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(after.model_state), jax.tree.leaves(before.model_state)))
    _, before, after, _ = step(frozen=("stem_.*", ".*conv.*"))
    statistics, old = after.model_state["batch_stats"], before.model_state["batch_stats"]
    chex.assert_trees_all_equal(statistics["stem_norm"], old["stem_norm"])
    others = {name: part for name, part in statistics.items() if name != "stem_norm"}
    for name, part in others.items():
        assert all((a != b).any() for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(old[name]))), name


def test_layers_of_flax_and_layers_without_parameters():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            x = image.reshape(len(image), -1)
            x = nn.BatchNorm(name="plain", use_scale=False, use_bias=False)(x, use_running_average=not train)
            x = nn.Dense(4, name="body")(x)
            x = nn.BatchNorm(name="norm")(x, use_running_average=not train)
            x = nn.BatchNorm(name="always", use_running_average=False)(x)
            return nn.Dense(3, name="head")(x)

    _, before, after, _ = step(Net(), frozen=PROBE)
    old, new = before.model_state["batch_stats"], after.model_state["batch_stats"]
    chex.assert_trees_all_equal(new["norm"], old["norm"])
    chex.assert_trees_all_equal(new["always"], old["always"])
    # It goes with the whole model, which is not frozen.
    assert (new["plain"]["mean"] != old["plain"]["mean"]).any()


def test_which_layers_are_frozen():
    params = {"a": {"norm": {"scale": 1}, "conv": {"kernel": 1}}, "b": {"norm": {"scale": 1, "bias": 1}}}
    model_state = {"batch_stats": {"a": {"norm": {"mean": 1}, "bare": {"mean": 1}}, "b": {"norm": {"mean": 1}}}}
    assert frozen_layers(params, model_state, ("a/norm/.*",)) == {("a", "norm")}
    assert frozen_layers(params, model_state, ("a/.*",)) == {("a", "norm"), ("a", "bare")}
    assert frozen_layers(params, model_state, (".*scale",)) == {("a", "norm")}
    assert frozen_layers(params, model_state, ()) == frozenset()


def test_no_backward_pass_below_the_lowest_layer_that_trains():
    shapes = jax.eval_shape(partial(NET.init, train=False), jax.random.key(0), make_batch()["image"])
    forward = flops(lambda v, x: NET.apply(v, x, train=False), shapes, make_batch()["image"])

    def training(**settings):
        learner = supervised(NET, Task(), SGD, **settings)
        state = jax.eval_shape(learner.init, jax.random.key(0), make_batch())
        return flops(learner.step, state, make_batch())

    head = 2 * 8 * 16 * 3
    last = training(frozen=("(?!head/|stage_3_block_1/).*",))
    assert training(frozen=PROBE) == forward + head  # The gradient of the kernel alone.
    assert forward + head < last < 1.3 * forward
    assert training() > 2.9 * forward
    # Below a trainable layer nothing is saved but the gradients of the kernels.
    assert 1.9 * forward < training(frozen=("(?!stem_conv/).*",)) < 2.1 * forward
