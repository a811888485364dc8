"""What every model promises, whatever it is made of."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models import MLP, CifarResNet, LeNet, ResNet

IMAGE = (4, 16, 16, 3)
MODELS = {
    "mlp": MLP(num_classes=5, widths=(8, 6), normalization="batch", dropout_rate=0.2),
    "mlp_layer": MLP(num_classes=5, widths=(8,), normalization="layer", activation="silu"),
    "lenet": LeNet(num_classes=5, channels=(3, 4), dense_width=6, batch_norm=True, dropout_rate=0.2),
    "resnet_18": ResNet(num_classes=5, depth=18, width=2, stem="cifar", zero_init_residual=False),
    "cifar_resnet": CifarResNet(
        num_classes=5, depth=8, width=2, shortcut="projection", stochastic_depth_rate=0.1, zero_init_residual=False
    ),
}

pytestmark = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resnet_18" else ()) for name in MODELS]
)


def images(seed=1):
    return jax.random.uniform(jax.random.key(seed), IMAGE)


@functools.cache
def make(name):
    model = MODELS[name]
    return model, jax.jit(lambda key: model.init(key, images(), train=False))(jax.random.key(0))


def apply_train(model, variables, image, seed=2):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply(variables, image, train=True, rngs=rngs, mutable=["batch_stats"])


def test_logits_have_one_row_per_image(name):
    model, variables = make(name)
    logits = jax.jit(lambda v: model.apply(v, images(), train=False))(variables)
    chex.assert_shape(logits, (4, 5))
    assert jnp.isfinite(logits).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_every_part_has_a_name_of_its_own(name):
    _, variables = make(name)
    parts = {part for leaf in trees.names(variables) for part in leaf.split("/")}
    assert not [part for part in parts if part[0].isupper()]


def test_only_training_changes_the_statistics_and_draws_random_numbers(name):
    model, variables = make(name)
    evaluate = jax.jit(lambda v: model.apply(v, images(), train=False, mutable=["batch_stats"]))
    evaluated, state = evaluate(variables)
    chex.assert_trees_all_equal(state.get("batch_stats", {}), variables.get("batch_stats", {}))
    np.testing.assert_array_equal(evaluated, evaluate(variables)[0])
    _, state = jax.jit(apply_train, static_argnums=0)(model, variables, images())
    for before, after in zip(jax.tree.leaves(variables.get("batch_stats", {})), jax.tree.leaves(state)):
        assert (before != after).any()


def test_examples_do_not_see_each_other_in_evaluation(name):
    model, variables = make(name)
    evaluate = jax.jit(lambda image: model.apply(variables, image, train=False))
    changed = images().at[1:].set(images(7)[1:])
    np.testing.assert_allclose(evaluate(images())[0], evaluate(changed)[0], atol=1e-6)
    np.testing.assert_allclose(evaluate(images()[:1])[0], evaluate(images())[0], atol=1e-5)


def test_every_parameter_gets_a_gradient(name):
    model, variables = make(name)

    @jax.jit
    def gradient(params):
        def loss(params):
            logits, _ = apply_train(model, variables | {"params": params}, images())
            return -jax.nn.log_softmax(logits)[:, 0].sum()

        return jax.grad(loss)(params)

    for leaf_name, leaf in zip(trees.names(variables["params"]), jax.tree.leaves(gradient(variables["params"]))):
        assert jnp.isfinite(leaf).all(), leaf_name
        assert (leaf != 0).any(), leaf_name


def test_half_precision_computes_half_and_stores_single(name):
    single_model, variables = make(name)
    model = single_model.clone(dtype="bfloat16")
    logits, state = jax.jit(apply_train, static_argnums=0)(model, variables, images())
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, state))} == {jnp.dtype(jnp.float32)}
    evaluate = jax.jit(lambda model: model.apply(variables, images(), train=False), static_argnums=0)
    single, halved = evaluate(single_model), evaluate(model).astype(jnp.float32)
    np.testing.assert_allclose(halved, single, atol=0.05 * float(jnp.abs(single).max()) + 0.02)


def test_jit_traces_once(name):
    model, variables = make(name)
    traces = []

    @jax.jit
    def evaluate(variables, image):
        traces.append(image)
        return model.apply(variables, image, train=False)

    for seed in range(3):
        evaluate(variables, images(seed))
    assert len(traces) == 1


def test_an_unknown_activation_is_refused_at_construction(name):
    with pytest.raises(ValueError, match="Did you mean 'relu'"):
        MODELS[name].clone(activation="relo")
