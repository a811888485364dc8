import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import activation
from jaxdl.nn.activations import NAMED


@pytest.mark.parametrize(
    ("name", "expected"), [("relu", 2.0), ("silu", 1.761594), ("tanh", 0.964028), ("sigmoid", 0.880797)]
)
def test_named_activation_has_its_textbook_value(name, expected):
    np.testing.assert_allclose(activation(name)(jnp.float32(2.0)), expected, rtol=1e-5)


def test_softmax_works_on_the_last_axis():
    np.testing.assert_allclose(activation("softmax")(jnp.zeros((2, 4))), np.full((2, 4), 0.25))


def test_a_function_is_returned_as_it_is():
    assert activation(jnp.sin) is jnp.sin


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_name_leads_to_a_finite_function(name):
    values = jax.jit(activation(name))(jnp.linspace(-3, 3, 8).reshape(2, 4))
    assert jnp.isfinite(values).all()


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"'rleu'.*Did you mean 'relu'"):
        activation("rleu")


def test_wrong_type_is_refused():
    with pytest.raises(ValueError, match="Unknown activation 3"):
        activation(3)
