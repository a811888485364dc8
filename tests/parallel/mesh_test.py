"""Meshes and sharding rules."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxdl.learners import Learner, TrainState
from jaxdl.parallel import abstract_state, make_mesh


@pytest.mark.parametrize(
    ("axes", "shape"),
    [({}, None), ({"data": -1}, (8, 1)), ({"data": 2, "fsdp": -1}, (2, 4)), ({"fsdp": 8}, (1, 8)), ({"data": 3}, None)],
)
def test_sizes(axes, shape):
    if shape is None:
        with pytest.raises(ValueError, match="does not use 8 devices exactly"):
            make_mesh(axes)
    else:
        assert tuple(make_mesh(axes).shape.values()) == shape


@pytest.mark.parametrize(
    ("axes", "message"),
    [({"model": 2}, "Unknown mesh axes"), ({"data": -1, "fsdp": -1}, "at most one"), ({"data": 0}, "must be positive")],
)
def test_bad_sizes(axes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(axes)


def state_of(rules):
    params = {"dense": {"kernel": jnp.zeros((16, 24)), "bias": jnp.zeros(7)}}

    def init(key, batch):
        momentum = jax.tree.map(jnp.zeros_like, params)
        return TrainState(step=jnp.zeros((), int), key=key, params=params, model_state={}, opt_state=(momentum,))

    learner = Learner(init=init, step=None, evaluate=None, predict=None)
    return abstract_state(learner, jax.random.key(0), {}, make_mesh({"data": 2, "fsdp": 4}), rules)


@pytest.mark.parametrize(
    ("rules", "kernel"),
    [
        (None, P(None, "fsdp")),
        ((("dense/kernel", ("fsdp", None)), (".*", None)), P("fsdp", None)),
        ((("dense/kernel", ("fsdp", "data")), (".*", None)), P("fsdp", "data")),
        (((".*", None),), P()),
        (((".*", "data"),), P(None, "data")),
    ],
)
def test_rules_shard_parameters_and_what_belongs_to_them(rules, kernel):
    state = state_of(rules)
    assert state.params["dense"]["kernel"].sharding.spec == kernel
    assert state.opt_state[0]["dense"]["kernel"].sharding.spec == kernel
    assert state.step.sharding.spec == P()
    assert all(axis is None for axis in state.params["dense"]["bias"].sharding.spec)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("dense/kernel", "fsdp"),), "No sharding rule matches dense/bias"),
        ((("dense/kernl", "fsdp"), (".*", None)), "match no parameter"),
        (((".*", "tensor"),), "Unknown mesh axis 'tensor'"),
        (((".*", ("fsdp", None, None)),), "more entries than the shape"),
    ],
)
def test_bad_rules(rules, message):
    with pytest.raises(ValueError, match=message):
        state_of(rules)
