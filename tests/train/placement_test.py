"""Rules that could place nothing are refused, and axes that split nothing are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import ConfigError
from jaxdl.parallel import abstract_state, idle_axes, make_mesh, shard
from jaxdl.train.experiment import assemble


def state_on(experiment, axes, rules=None):
    mesh = make_mesh(axes)
    batch = {name: np.asarray(x) for name, x in experiment.train[0].items()}
    return mesh, abstract_state(assemble(experiment), jax.random.key(0), batch, mesh, rules), batch


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("(bad", "fsdp"), (".*", None)), "sharding rule '\\(bad' is no regular expression: missing \\)"),
        (((".*kernel", ("fsdp", "fsdp")), (".*", None)), "names an axis twice"),
        (((".*kernel", (("fsdp", "data"), "data")), (".*", None)), "names an axis twice"),
        (((".*kernel", ("foo",)), (".*", None)), "Unknown mesh axis 'foo'"),
    ],
)
def test_rules_for_parameters(experiment, rules, message):
    with pytest.raises(ConfigError, match=message):
        state_on(experiment(), {"fsdp": 8}, rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("(bad", ("data", None)),), "activation rule '\\(bad' is no regular expression"),
        (((".*", ("foo", None)),), "Unknown mesh axis 'foo'"),
        (((".*", "data"),), "must give an entry for each dimension"),
        (((".*", ("data", ("fsdp", "data"))),), "names an axis twice"),
    ],
)
def test_rules_for_activations(experiment, rules, message):
    mesh, state, _ = state_on(experiment(), {"data": 8})
    with pytest.raises(ConfigError, match=message):
        shard(assemble(experiment()), state, mesh, rules)


def test_axes_that_split_nothing_are_named(experiment):
    split, whole = ((".*kernel", (None, "tensor")), (".*", None)), ((".*", None),)
    for axes, rules, expected in (
        *(({axis: 8}, None, []) for axis in ("data", "fsdp", "expert")),
        ({"tensor": 8}, None, ["tensor"]),  # The default rules are those of transformers.
        ({"tensor": 8}, split, []),
    ):
        mesh, state, batch = state_on(experiment(), axes, rules)
        assert idle_axes(mesh, state.params, batch) == expected
    mesh, state, _ = state_on(experiment(), {"tensor": 2, "stage": 2, "sequence": 2}, whole)
    assert idle_axes(mesh, state.params, {"tokens": jnp.zeros((8, 7))}) == ["stage", "sequence", "tensor"]
    assert idle_axes(mesh, state.params, {"tokens": jnp.zeros((8, 6))}) == ["stage", "tensor"]
