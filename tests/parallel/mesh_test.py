"""Meshes and sharding rules."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.learners import Learner, TrainState
from jaxdl.parallel import AXES, ROWS, abstract_state, batch_sharding, make_mesh, place, row_shard


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ({}, None),
        ({"data": -1}, (8, 1, 1, 1, 1, 1)),
        ({"data": 2, "fsdp": -1}, (2, 4, 1, 1, 1, 1)),
        ({"fsdp": 8}, (1, 8, 1, 1, 1, 1)),
        ({"tensor": 2, "sequence": 2, "expert": -1}, (1, 1, 2, 1, 2, 2)),
        ({"data": 3}, None),
    ],
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
        (((".*", "model"),), "Unknown mesh axis 'model'"),
        (((".*", ("fsdp", None, None)),), "more entries than the shape"),
    ],
)
def test_bad_rules(rules, message):
    with pytest.raises(ValueError, match=message):
        state_of(rules)


class Fake(NamedTuple):
    """A device of another process."""

    id: int
    process_index: int


def mesh_of(monkeypatch, axes, processes, each, here):
    devices = np.empty(processes * each, object)
    devices[:] = [Fake(number, number // each) for number in range(processes * each)]
    monkeypatch.setattr(jax, "process_index", lambda: here)
    return SimpleNamespace(
        devices=devices.reshape([axes[name] if name in axes else 1 for name in AXES]), shape=dict(axes)
    )


@pytest.mark.parametrize(
    ("axes", "processes", "each", "expected"),
    [
        ({"data": 8}, 4, 2, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        ({"data": 4, "tensor": 2}, 4, 2, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        ({"data": 2, "tensor": 4}, 4, 2, [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ({"sequence": 8}, 4, 2, [(0, 1)] * 4),
        ({"fsdp": 2, "expert": 2, "tensor": 2}, 2, 4, [(0, 2), (1, 2)]),
        ({"data": 2}, 1, 2, [(0, 1)]),
    ],
)
def test_processes_make_the_rows_that_their_devices_hold(monkeypatch, axes, processes, each, expected):
    found = [row_shard(mesh_of(monkeypatch, axes, processes, each, here)) for here in range(processes)]
    assert found == expected


def test_rows_that_overlap_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="rows that overlap"):
        row_shard(mesh_of(monkeypatch, {"data": 2, "tensor": 3}, 3, 2, 0))


def test_the_second_dimension_of_a_batch_is_split_where_it_divides():
    mesh = make_mesh({"data": 2, "sequence": 4})
    assert batch_sharding(mesh, (4, 8, 3)).spec == P(ROWS, "sequence")
    assert batch_sharding(mesh, (4, 6)).spec == P(ROWS)
    assert batch_sharding(mesh, (4,)).spec == P(ROWS)
    assert batch_sharding(mesh, (3, 4, 8), stacked=True).spec == P(None, ROWS, "sequence")
    placed = place({"tokens": np.arange(32).reshape(4, 8), "mask": np.ones(4)}, mesh)
    assert placed["tokens"].addressable_shards[0].data.shape == (2, 2)
    np.testing.assert_array_equal(placed["tokens"], np.arange(32).reshape(4, 8))
