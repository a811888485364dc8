import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxdl import optim

PARAMS = {
    "block_0": {"dense": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0)}},
    "norm": {"scale": jnp.full(3, 2.0)},
}
GRADIENTS = jax.tree.map(jnp.ones_like, PARAMS)
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)


def update(gradients=GRADIENTS, params=PARAMS, **settings):
    optimizer = optim.optimizer(**{"rule": optim.sgd(), "learning_rate": 0.5} | settings)
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def values(updates):
    """The one value in each of kernel, bias and scale."""
    leaves = [updates["block_0"]["dense"]["kernel"], updates["block_0"]["dense"]["bias"], updates["norm"]["scale"]]
    assert all(np.ptp(leaf) == 0 for leaf in leaves)
    return [float(np.asarray(leaf).flat[0]) for leaf in leaves]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [-0.5, -0.5, -0.5]),
        ({"learning_rate": lambda step: 0.25 + step}, [-0.25, -0.25, -0.25]),
        ({"weight_decay": 0.125}, [-0.625, -0.5, -0.5]),
        ({"weight_decay": ((".*/kernel", 0.125), (".*scale", 0.25), (".*", 0.0))}, [-0.625, -0.5, -0.75]),
        ({"l2": 0.125}, [-0.625, -0.5, -0.5]),
        ({"l2": ((".*", 0.125),)}, [-0.625, -0.625, -0.625]),
        ({"l1": 0.25}, [-0.625, -0.5, -0.5]),
        ({"learning_rate_multipliers": (("norm/.*", 2.0), (".*", 1.0))}, [-0.5, -0.5, -1.0]),
        ({"learning_rate_multipliers": ((".*", 0.5),), "weight_decay": 0.5}, [-0.5, -0.25, -0.25]),
        ({"learning_rate_multipliers": (("norm/.*", 0.0), (".*", 1.0))}, [-0.5, -0.5, 0.0]),
        ({"clip_value": 0.25}, [-0.125, -0.125, -0.125]),
        ({"clip_norm": 12**0.5 / 2}, [-0.25, -0.25, -0.25]),
        ({"clip_norm": 100.0}, [-0.5, -0.5, -0.5]),
        ({"clip_value": 0.25, "clip_norm": 12**0.5 / 4}, [-0.125, -0.125, -0.125]),
        # Penalties come after the clipping and before the rule, the decoupled decay after the rule.
        ({"clip_value": 0.25, "l2": 0.125}, [-0.25, -0.125, -0.125]),
        ({"rule": optim.lion(), "l2": 5.0, "weight_decay": 0.5}, [-1.0, -0.5, -0.5]),
    ],
)
def test_order_and_rules(settings, expected):
    np.testing.assert_allclose(values(update(**settings)), expected, rtol=1e-6)


def test_l1_pulls_towards_zero_from_both_sides():
    params = {"kernel": jnp.array([[2.0, -2.0, 0.0]])}
    updates = update({"kernel": jnp.zeros((1, 3))}, params, l1=0.5)
    np.testing.assert_allclose(updates["kernel"], [[-0.25, 0.25, 0.0]])


def test_max_norm_limits_each_unit_and_leaves_the_rest():
    params = {
        "kernel": jnp.array([[3.0, 0.1], [4.0, 0.1]]),
        "conv": jnp.full((1, 2, 2, 1), 2.0),
        "bias": jnp.full(2, 9.0),
    }
    updates = update(jax.tree.map(jnp.zeros_like, params), params, max_norm=2.0)
    limited = optax.apply_updates(params, updates)
    np.testing.assert_allclose(limited["kernel"], [[1.2, 0.1], [1.6, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(limited["conv"], np.full((1, 2, 2, 1), 1.0), rtol=1e-6)
    np.testing.assert_array_equal(limited["bias"], params["bias"])


def test_max_norm_of_zero_weights_is_zero():
    params = {"kernel": jnp.zeros((2, 2))}
    np.testing.assert_array_equal(update(params, params, max_norm=1.0)["kernel"], np.zeros((2, 2)))


def test_learning_rate_follows_the_steps_and_can_be_read():
    optimizer = optim.optimizer(rule=optim.adam(), learning_rate=optim.linear(peak=1.0, steps=4))
    state = optimizer.init(PARAMS)
    read = [float(optim.learning_rate_at(state))]
    for _ in range(5):
        _, state = optimizer.update(GRADIENTS, state, PARAMS)
        read.append(float(optim.learning_rate_at({"nested": [state]})))
    assert read == [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    with pytest.raises(ValueError, match=r"not made by jaxdl.optim.optimizer"):
        optim.learning_rate_at(optax.adam(1e-3).init(PARAMS))


def test_half_precision_parameters_have_float32_states_and_updates():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    optimizer = optim.optimizer(rule=optim.adam(), learning_rate=1e-3, weight_decay=0.1, clip_norm=1.0)
    state = optimizer.init(params)
    updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32"), jnp.dtype("int32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(optax.apply_updates(params, updates))} == {jnp.dtype("bfloat16")}


def test_missing_and_none_leaves():
    params = PARAMS | {"frozen": None, "empty": {}}
    updates = update(GRADIENTS | {"frozen": None, "empty": {}}, params, weight_decay=0.1, clip_norm=1.0, max_norm=1.0)
    assert updates["frozen"] is None
    assert jax.tree.structure(updates) == jax.tree.structure(params)


@pytest.mark.parametrize(
    "rule", [optim.sgd(momentum=0.9), optim.adam(), optim.rmsprop(momentum=0.9), optim.muon(), optim.adafactor()]
)
def test_is_compiled_once_and_equals_the_uncompiled(rule):
    optimizer = optim.optimizer(
        rule=rule,
        learning_rate=optim.cosine(peak=0.1, steps=10, warmup_steps=2),
        weight_decay=0.1,
        clip_norm=1.0,
        plateau=optim.reduce_on_plateau(),
    )
    step = jax.jit(optimizer.update)
    compiled = eager = jax.jit(optimizer.init)(PARAMS)
    for _ in range(3):
        fast, compiled = step(GRADIENTS, compiled, PARAMS)
        slow, eager = optimizer.update(GRADIENTS, eager, PARAMS)
    assert step._cache_size() == 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), fast, slow)


def test_shapes_suffice_to_make_the_state():
    optimizer = optim.optimizer(rule=optim.muon(), weight_decay=0.1)
    state = jax.eval_shape(optimizer.init, jax.eval_shape(lambda: PARAMS))
    assert jax.tree.structure(state) == jax.tree.structure(optimizer.init(PARAMS))


def test_optax_can_tell_parameters_from_counters_in_the_state():
    """What sharding the optimizer state like the parameters needs."""
    optimizer = optim.optimizer(rule=optim.adam(), weight_decay=((".*", 0.1),), plateau=optim.reduce_on_plateau())
    state = jax.eval_shape(optimizer.init, PARAMS)
    specs = optax.tree_map_params(
        optimizer, lambda leaf: PartitionSpec("data"), state, transform_non_params=lambda leaf: PartitionSpec()
    )
    assert set(jax.tree.leaves(specs.rule.mu, is_leaf=lambda x: isinstance(x, PartitionSpec))) == {
        PartitionSpec("data")
    }
    assert specs.step == specs.rule.count == specs.plateau.scale == PartitionSpec()


def test_extra_arguments_reach_the_rule():
    seen = []

    def remember(updates, state, params=None, *, value):
        seen.append(value)
        return updates, state

    rule = optax.GradientTransformationExtraArgs(
        lambda params: (), lambda u, s, p=None, value=None: remember(u, s, value=value)
    )
    optimizer = optim.optimizer(rule=rule)
    optimizer.update(GRADIENTS, optimizer.init(PARAMS), PARAMS, value=7)
    assert seen[-1] == 7


@pytest.mark.parametrize(
    "rule", [optax.adam(1e-3), optax.sgd(0.1), optax.chain(optax.scale_by_adam(), optax.scale(-1))]
)
def test_a_rule_that_would_climb_is_an_error(rule):
    with pytest.raises(ValueError, match="turns the gradient around"):
        optim.optimizer(rule=rule).init(PARAMS)


def test_a_rule_that_would_climb_is_an_error_under_jit():
    with pytest.raises(ValueError, match="turns the gradient around"):
        jax.eval_shape(optim.optimizer(rule=optax.adam(1e-3)).init, PARAMS)


@pytest.mark.parametrize("name", ["weight_decay", "l1", "l2", "learning_rate_multipliers"])
def test_rules_must_cover_all_and_match_something(name):
    with pytest.raises(ValueError, match=r"rule matches block_0/dense/bias, norm/scale"):
        optim.optimizer(rule=optim.sgd(), **{name: ((".*kernel", 0.1),)}).init(PARAMS)
    with pytest.raises(ValueError, match=r"\['.*kernle'\] match no parameter"):
        optim.optimizer(rule=optim.sgd(), **{name: ((".*kernle", 0.1), (".*", 0.0))}).init(PARAMS)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"rule": "adam"}, TypeError, r"rule is 'adam'; it must be an optax transformation.*jaxdl.optim.adam\(\)"),
        ({"rule": optim.adam}, TypeError, "rule is <function adam"),
        ({"plateau": 3}, TypeError, r"plateau is 3.*reduce_on_plateau\(\)"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate is -0.1"),
        ({"learning_rate": "0.1"}, ValueError, "learning_rate is '0.1'"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate is inf"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay is -1.0"),
        ({"weight_decay": (".*", 0.1)}, ValueError, r"weight_decay holds '\.\*'; a rule is a pair"),
        ({"weight_decay": ((".*", "0.1"),)}, ValueError, r"weight_decay of '\.\*' is '0.1'"),
        ({"weight_decay": (("(", 0.1),)}, ValueError, r"'\(', which is not a regular expression"),
        ({"l1": (("a", 0.1, 2),)}, ValueError, "a rule is a pair"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm is 0.0; it must be above zero, or None"),
        ({"clip_value": -1.0}, ValueError, "clip_value is -1.0"),
        ({"max_norm": 0.0}, ValueError, "max_norm is 0.0"),
    ],
)
def test_bad_settings_are_named_at_once(wrong, error, message):
    with pytest.raises(error, match=message):
        optim.optimizer(**{"rule": optim.sgd()} | wrong)


def test_update_needs_the_parameters():
    optimizer = optim.optimizer(rule=optim.sgd())
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(GRADIENTS, optimizer.init(PARAMS))
