import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn.squeeze_excite import SqueezeExcite


def test_equals_torch():
    torch = pytest.importorskip("torch")
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6))
    layer = SqueezeExcite(3, "relu", "hard_sigmoid")
    variables = layer.init(jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: leaf + 0.3, variables)
    params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["params"])
    image = torch.tensor(np.asarray(x))
    hidden = (image.mean((1, 2)) @ params["reduce"]["kernel"] + params["reduce"]["bias"]).relu()
    scale = torch.nn.functional.hardsigmoid(hidden @ params["expand"]["kernel"] + params["expand"]["bias"])
    np.testing.assert_allclose(layer.apply(variables, x), image * scale[:, None, None], atol=1e-6)


def test_one_half_where_the_gate_sees_zero():
    x = jnp.ones((1, 2, 2, 3))
    variables = jax.tree.map(jnp.zeros_like, SqueezeExcite(1).init(jax.random.key(0), x))
    np.testing.assert_allclose(SqueezeExcite(1).apply(variables, x), 0.5)


def test_no_channels_are_refused_at_construction():
    with pytest.raises(ValueError, match="at least 1 squeezed channel, not 0"):
        SqueezeExcite(0)
