import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.losses import parameter_penalty

PARAMS = {"dense": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])}, "kernel": jnp.array([3.0])}


def test_penalises_kernels_alone_unless_told_otherwise():
    assert parameter_penalty(PARAMS, l1=1.0) == 6.0
    assert parameter_penalty(PARAMS, l2=1.0) == 7.0
    assert parameter_penalty(PARAMS, l1=1.0, rules=((".*bias", 0.5), (".*", 1.0))) == 8.5


def test_gradient_of_the_square_is_coupled_weight_decay():
    gradient = jax.grad(lambda p: parameter_penalty(p, l2=0.1))(PARAMS)
    np.testing.assert_allclose(gradient["dense"]["kernel"], 0.1 * PARAMS["dense"]["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(gradient["dense"]["bias"], [0])


def test_every_parameter_must_be_covered():
    with pytest.raises(ValueError, match="penalty rule matches dense/bias"):
        parameter_penalty(PARAMS, l1=1.0, rules=((".*kernel", 1.0),))
