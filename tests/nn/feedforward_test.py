import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import FeedForward

torch = pytest.importorskip("torch")


def linear(params, x):
    weight, bias = torch.tensor(np.asarray(params["kernel"]).T), params.get("bias")
    return torch.nn.functional.linear(x, weight, None if bias is None else torch.tensor(np.asarray(bias)))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("name", "theirs"), [("gelu_exact", "gelu"), ("silu", "silu"), ("relu", "relu")])
@pytest.mark.parametrize("gated", [True, False])
def test_equals_torch(gated, name, theirs, use_bias):
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    module = FeedForward(5, 12, activation=name, gated=gated, use_bias=use_bias)
    params = jax.jit(lambda: module.init(jax.random.key(0), jnp.asarray(x), train=False))()["params"]
    assert set(params) == {"up", "down"} | ({"gate"} if gated else set())
    assert ("bias" in params["up"]) == use_bias
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    act, given = getattr(torch.nn.functional, theirs), torch.tensor(x)
    up = linear(params["up"], given)
    hidden = act(linear(params["gate"], given)) * up if gated else act(up)
    found = jax.jit(lambda params: module.apply({"params": params}, jnp.asarray(x), train=False))(params)
    np.testing.assert_allclose(found, linear(params["down"], hidden), atol=1e-5)


def test_drops_hidden_features_in_training_only():
    module, x = FeedForward(4, 64, activation="relu", dropout_rate=0.5), jnp.ones((1, 3))
    variables = module.init(jax.random.key(0), x, train=False)

    @jax.jit
    def run(seed):
        return module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    outs = jax.lax.map(run, jnp.arange(1000))
    expected = module.apply(variables, x, train=False)
    np.testing.assert_array_less(np.abs(outs.mean(0) - expected), 5 * outs.std(0) / np.sqrt(1000))


def test_dtype_is_of_the_computation():
    x = jnp.ones((2, 3))
    y, variables = FeedForward(4, 8, gated=True, dtype="bfloat16").init_with_output(jax.random.key(0), x, train=False)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
