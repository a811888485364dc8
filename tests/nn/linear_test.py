from functools import partial

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import Dense


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (0, 5)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_flax_in_parameters_outputs_and_gradients(shape, use_bias):
    key, x = jax.random.key(0), jax.random.normal(jax.random.key(1), shape)
    ours, theirs = Dense(7, use_bias=use_bias), flax.linen.Dense(7, use_bias=use_bias)
    variables, expected = ours.init(key, x), theirs.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)

    def loss(module, variables, x):
        return jnp.sum(jnp.sin(module.apply(variables, x)))

    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-6)
    gradients, expected = (jax.jit(jax.grad(partial(loss, module), (0, 1)))(variables, x) for module in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradients, expected)


def test_dtype_is_of_the_computation_and_param_dtype_of_the_parameters():
    x = jnp.ones((2, 3))
    y, variables = Dense(4, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    halves = Dense(4, param_dtype=jnp.bfloat16).init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(halves)} == {jnp.dtype(jnp.bfloat16)}


def test_initializers_are_used():
    variables = Dense(2, kernel_init=jax.nn.initializers.ones, bias_init=jax.nn.initializers.ones).init(
        jax.random.key(0), jnp.ones((1, 3))
    )
    np.testing.assert_array_equal(variables["params"]["kernel"], np.ones((3, 2)))
    np.testing.assert_array_equal(variables["params"]["bias"], np.ones(2))
