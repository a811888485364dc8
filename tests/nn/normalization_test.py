from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.nn import BatchNorm
from jaxdl.nn.normalization import bound_axes

X = 3 + 2 * jax.random.normal(jax.random.key(0), (16, 3, 4, 5))


def train(x, norm=None, mask=None):
    norm = norm or BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=False)
    return norm.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])


def mesh(*axes):
    return jax.make_mesh(tuple(size for _, size in axes), tuple(name for name, _ in axes), (AxisType.Auto,) * len(axes))


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected)


def test_equals_flax_in_training_and_evaluation():
    ours, theirs = BatchNorm(), flax.linen.BatchNorm(momentum=0.9)
    variables = ours.init(jax.random.key(0), X, train=False)
    assert jax.tree.structure(variables) == jax.tree.structure(
        theirs.init(jax.random.key(0), X, use_running_average=True)
    )
    y, state = ours.apply(variables, X, train=True, mutable=["batch_stats"])
    assert_close((y, state), theirs.apply(variables, X, use_running_average=False, mutable=["batch_stats"]))
    variables = variables | state
    assert_close(ours.apply(variables, X, train=False), theirs.apply(variables, X, use_running_average=True))


def test_equals_torch_but_for_the_bias_correction_of_the_running_variance():
    torch = pytest.importorskip("torch")
    y, state = train(X)
    norm = torch.nn.BatchNorm2d(5)
    expected = norm(torch.tensor(np.asarray(X)).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["mean"], norm.running_mean, atol=1e-6)
    count = X.size / 5
    biased = 0.9 + (norm.running_var.numpy() - 0.9) * (count - 1) / count
    np.testing.assert_allclose(state["batch_stats"]["var"], biased, rtol=1e-5)


def test_initialization_leaves_the_running_statistics_alone():
    stats = BatchNorm().init(jax.random.key(0), X, train=True)["batch_stats"]
    np.testing.assert_array_equal(stats["mean"], np.zeros(5))
    np.testing.assert_array_equal(stats["var"], np.ones(5))


def test_a_sharded_batch_under_jit_has_global_statistics():
    sharding = NamedSharding(mesh(("data", 8)), P("data"))
    assert_close(jax.jit(train)(jax.device_put(X, sharding)), train(X))


def test_a_batch_split_by_pmap_has_global_statistics():
    y, state = jax.pmap(train, axis_name="data")(X.reshape(8, 2, *X.shape[1:]))
    expected_y, expected_state = train(X)
    assert_close(y.reshape(X.shape), expected_y)
    assert_close(jax.tree.map(lambda leaf: leaf[3], state), expected_state)


def test_a_batch_split_by_shard_map_over_two_axes_has_global_statistics():
    over = mesh(("data", 4), ("fsdp", 2))
    run = partial(train, norm=BatchNorm(axis_name=("data", "fsdp", "absent")))
    split = jax.shard_map(run, mesh=over, in_specs=P(("data", "fsdp")), out_specs=(P(("data", "fsdp")), P()))
    assert_close(jax.jit(split)(X), train(X))


def test_an_axis_of_another_name_keeps_statistics_local():
    y, _ = jax.pmap(train, axis_name="other")(X.reshape(8, 2, *X.shape[1:]))
    assert_close(y[5], train(X[10:12])[0])


def test_bound_axes_are_those_around_the_caller():
    assert bound_axes("data") == ()
    with jax.set_mesh(mesh(("data", 8))):
        assert jax.jit(lambda: len(bound_axes("data")))() == 0
    seen = []
    jax.vmap(lambda x: seen.append(bound_axes(("rows", "data"))), axis_name="data")(jnp.ones(2))
    assert seen == [("data",)]


@pytest.mark.parametrize("axis_name", [None, "data"])
def test_masked_rows_leave_the_statistics_alone(axis_name):
    mask = jnp.arange(16) % 3 > 0
    spoilt = jnp.where(mask[:, None, None, None], X, 1e3)
    expected_y, expected_state = train(X[np.asarray(mask)])
    run = lambda x, mask: train(x, mask=mask)  # noqa: E731
    if axis_name:
        y, state = jax.pmap(run, axis_name=axis_name)(spoilt.reshape(8, 2, *X.shape[1:]), mask.reshape(8, 2))
        y, state = y.reshape(X.shape), jax.tree.map(lambda leaf: leaf[0], state)
    else:
        y, state = run(spoilt, mask)
    assert_close((y[np.asarray(mask)], state), (expected_y, expected_state))


def test_statistics_stay_float32_under_bfloat16():
    y, state = train(X.astype(jnp.bfloat16), norm=BatchNorm(dtype="bfloat16"))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(state["batch_stats"]["mean"], train(X)[1]["batch_stats"]["mean"], atol=1e-3)


def test_a_mask_of_frames_equals_the_frames_that_it_keeps():
    x, mask = jax.random.normal(jax.random.key(0), (3, 5, 4)), jnp.arange(5)[None] < jnp.array([[5], [2], [0]])
    module = BatchNorm()
    variables = module.init(jax.random.key(1), x, train=False)
    kept = jnp.concatenate((x[0], x[1, :2]))
    y, state = module.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
    expected, expected_state = module.apply(variables, kept, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(jnp.concatenate((y[0], y[1, :2])), expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, expected_state)
