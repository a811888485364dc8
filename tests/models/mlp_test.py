import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models import MLP


def test_equals_the_written_out_network():
    x = jax.random.normal(jax.random.key(0), (3, 4, 2))
    model = MLP(num_classes=2, widths=(5,), activation="tanh")
    variables = model.init(jax.random.key(1), x, train=False)
    hidden, head = variables["params"]["hidden_0"], variables["params"]["head"]
    expected = jnp.tanh(x.reshape(3, 8) @ hidden["kernel"] + hidden["bias"][None]) @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(model.apply(variables, x, train=True), expected, atol=1e-6)


def test_number_of_parameters():
    variables = MLP(num_classes=10, widths=(128, 128)).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)), train=False)
    assert trees.count(variables["params"]) == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    linear = MLP(num_classes=10, widths=()).init(jax.random.key(0), jnp.ones((1, 64)), train=False)
    assert trees.names(linear["params"]) == ["head/bias", "head/kernel"]


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="'group'"):
        MLP(num_classes=2, normalization="group")
