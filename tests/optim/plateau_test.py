import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxdl import optim

PARAMS = {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}


@settings(max_examples=60, deadline=None)
@given(
    # Eighths and powers of two: what float32 and Python's float64 compare alike.
    values=st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=40),
    factor=st.sampled_from([0.5, 0.1]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 0.125, 0.5]),
    threshold_mode=st.sampled_from(["relative", "absolute"]),
    mode=st.sampled_from(["min", "max"]),
    cooldown=st.integers(0, 3),
    min_scale=st.sampled_from([0.0, 0.03]),
)
def test_equals_torch(values, factor, patience, threshold, threshold_mode, mode, cooldown, min_scale):
    torch = pytest.importorskip("torch")
    common = {"factor": factor, "patience": patience, "threshold": threshold, "mode": mode, "cooldown": cooldown}
    state = optim.reduce_on_plateau(**common, threshold_mode=threshold_mode, min_scale=min_scale).init(PARAMS)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, **common, threshold_mode=threshold_mode[:3], min_lr=min_scale, eps=0.0
    )
    for value in values:
        theirs.step(value)
        state = optim.observe(state, value)
        np.testing.assert_allclose(state.scale, optimizer.param_groups[0]["lr"], rtol=1e-5)
        assert state.bad == theirs.num_bad_epochs
        assert state.cooldown == theirs.cooldown_counter
        assert state.best == theirs.best


def test_not_a_number_is_no_improvement():
    state = optim.reduce_on_plateau(patience=0, factor=0.5).init(PARAMS)
    state = optim.observe(optim.observe(state, 1.0), float("nan"))
    assert state.best == 1.0
    assert state.scale == 0.5


def make():
    return optim.optimizer(rule=optim.sgd(), learning_rate=0.5, plateau=optim.reduce_on_plateau(patience=0, factor=0.1))


def test_scales_the_learning_rate_of_the_optimizer():
    optimizer = make()
    state = optimizer.init(PARAMS)
    for value in (1.0, 2.0):
        state = optim.observe(state, value)
    updates, state = optimizer.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["kernel"], np.full((2, 2), -0.05), rtol=1e-6)
    np.testing.assert_allclose(optim.learning_rate_at(state), 0.05, rtol=1e-6)


def test_is_found_anywhere_and_leaves_the_rest_alone():
    inner = optax.chain(optax.trace(0.9), optim.reduce_on_plateau(patience=0, factor=0.5))
    state = {"a": [inner.init(PARAMS), None], "b": jnp.arange(3)}
    observed = optim.observe(optim.observe(state, 1.0), 1.0)
    assert observed["a"][0][1].scale == 0.5
    assert observed["b"] is state["b"]
    assert observed["a"][1] is None
    assert jax.tree.structure(observed) == jax.tree.structure(state)


def test_without_a_plateau_is_an_error():
    optimizer = optim.optimizer(rule=optim.sgd())
    with pytest.raises(ValueError, match=r"holds no plateau.*plateau=reduce_on_plateau"):
        optim.observe(optimizer.init(PARAMS), 1.0)


def test_a_step_after_an_observation_is_not_compiled_again():
    optimizer = make()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    step = jax.jit(optimizer.update, out_shardings=everywhere)
    params, state = jax.device_put((PARAMS, optimizer.init(PARAMS)), everywhere)
    for value in (3.0, 2.0, np.float32(4.0), jnp.float32(5.0)):
        _, state = step(params, state, params)
        state = optim.observe(state, value)
    assert step._cache_size() == 1
    np.testing.assert_allclose(state.plateau.scale, 0.01, rtol=1e-6)


def test_settings_are_not_saved():
    """A restored state takes the settings of the config that restores it."""
    assert len(jax.tree.leaves(optim.reduce_on_plateau().init(PARAMS))) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"factor": 1.0}, "factor is 1.0; it must lie between 0 and 1"),
        ({"mode": "maximum"}, "mode is 'maximum'; it must be 'min' or 'max'"),
        ({"threshold_mode": "rel"}, "threshold_mode is 'rel'"),
        ({"patience": -1}, "patience is -1"),
        ({"cooldown": -1}, "cooldown is -1"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"min_scale": 1.5}, "min_scale is 1.5"),
    ],
)
def test_bad_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        optim.reduce_on_plateau(**wrong)
