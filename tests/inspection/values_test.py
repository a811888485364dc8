"""What flows through a step, of layers that are called plainly, in loops, and computed again."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.inspection.values import Recorder, first_nonfinite, statistics


def test_statistics_are_those_of_the_finite_elements():
    x = np.random.default_rng(0).normal(size=(4, 5))
    with_gaps = np.concatenate([x.ravel(), [np.nan, np.inf, -np.inf]])
    found = statistics(with_gaps)
    np.testing.assert_allclose(found[:3], (x.mean(), x.std(), np.abs(x).max()))
    assert (found.nonfinite, found.size) == (3, 23)
    nothing = statistics(np.full(3, np.nan, jnp.bfloat16))
    assert nothing.nonfinite == 3
    assert np.isnan(nothing.mean)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(nn.Dense(4, name="dense")(x)), None


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="first")(x)
        x = nn.remat(nn.Dense)(4, name="again")(x)
        loop = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        x, _ = loop(name="loop")(x, None)
        return nn.Dense(1, name="last")(x)


def record(params, x, parts=1):
    recorder = Recorder(len(x) * parts, parts)

    def loss(params):
        recorder.begin_part()
        total = recorder.seen(Net().apply({"params": params}, x).sum(), "", "loss")
        recorder.end_forward()
        return total

    with jax.disable_jit(), recorder.watching():
        grads = jax.grad(loss)(params)
    jax.effects_barrier()
    return recorder.events, grads


@pytest.fixture(scope="module")
def setting():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)
    return Net().init(jax.random.key(0), x)["params"], x


def test_every_call_is_there_once_in_order_and_so_are_the_gradients(setting):
    params, x = setting
    events, grads = record(params, x)
    outputs = [event.name for event in events if event.what == "output"]
    assert outputs == ["first", "again", "loop/dense", "loop", "loop/dense", "loop", "last", ""]
    backward = [event.name for event in events if event.what == "gradient"]
    assert backward == ["", "last", *["loop", "loop/dense"] * 2, "again", "first"]
    assert [event.what for event in events].count("loss") == 1
    expected = jax.grad(lambda params: Net().apply({"params": params}, x).sum())(params)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert first_nonfinite(events) is None
    assert events[0].kind == "Net"


@pytest.mark.parametrize(
    ("layer", "name", "what"),
    [("first", "first", "output"), ("again", "again", "output"), ("loop", "loop/dense", "output")],
)
def test_the_first_layer_that_is_not_finite_is_found(setting, layer, name, what):
    params, x = setting
    broken = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.at[..., 0].set(jnp.inf) if path[0].key == layer else leaf, params
    )
    first = first_nonfinite(record(broken, x)[0])
    assert (first.name, first.what) == (name, what)
    assert first.rows == (0, 1, 2, 3, 4)


def test_rows_are_those_of_the_whole_batch(setting):
    params, x = setting
    poisoned = x.at[3, 1].set(jnp.nan)
    first = first_nonfinite(record(params, poisoned)[0])
    assert (first.name, first.what, first.rows) == ("", "input", (3,))
    first = first_nonfinite(record(params, poisoned, parts=2)[0])
    assert first.rows == (6,)  # Row 3 of the first of two parts by stride.
