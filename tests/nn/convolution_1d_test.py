import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn.convolution_1d import Conv1D

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("features", "kernel_size", "stride", "groups"),
    [(5, 3, 1, 1), (6, 3, 2, 1), (6, 5, 3, 2), (8, 1, 2, 1), (4, 7, 1, 4), (4, 3, 2, 4), (8, 3, 1, 4)],
)
@pytest.mark.parametrize("length", [1, 8, 11])
def test_equals_torch_forward_and_backward(features, kernel_size, stride, groups, length):
    x = jax.random.normal(jax.random.key(0), (2, length, 4))
    module = Conv1D(features, kernel_size, stride, groups, bias_init=flax.linen.initializers.normal(1.0))
    variables = module.init(jax.random.key(1), x)
    params = variables["params"]
    assert params["kernel"].shape == (kernel_size, 4 // groups, features)
    theirs = torch.nn.Conv1d(4, features, kernel_size, stride, padding=kernel_size // 2, groups=groups)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(params["kernel"])).permute(2, 1, 0))
        theirs.bias.copy_(torch.tensor(np.asarray(params["bias"])))
    given = torch.tensor(np.asarray(x).transpose(0, 2, 1), requires_grad=True)
    expected = theirs(given)
    expected.sin().sum().backward()

    @jax.jit
    def run(params, x):
        y, pull = jax.vjp(lambda params, x: module.apply({"params": params}, x), params, x)
        return y, *pull(jnp.cos(y))

    found, gradient, gradient_of_x = run(params, x)
    assert found.shape == (2, -(-length // stride), features)
    np.testing.assert_allclose(found, expected.detach().permute(0, 2, 1), atol=1e-5)
    np.testing.assert_allclose(gradient_of_x, given.grad.permute(0, 2, 1), atol=1e-5)
    np.testing.assert_allclose(gradient["kernel"], theirs.weight.grad.permute(2, 1, 0), atol=2e-5)
    np.testing.assert_allclose(gradient["bias"], theirs.bias.grad, atol=2e-5)


def test_half_precision_is_summed_in_single():
    x = jax.random.normal(jax.random.key(0), (1, 64, 4))
    module = Conv1D(4, 31, groups=4)
    variables = module.init(jax.random.key(1), x)
    half = module.clone(dtype="bfloat16").apply(variables, x)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), module.apply(variables, x), atol=2e-2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="odd and positive to pad both sides alike, not 4"):
        Conv1D(3, 4)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Conv1D(3, 3, 0)
    with pytest.raises(ValueError, match=r"sequences \(B, T, channels\), not shape \(2, 3\)"):
        Conv1D(3).init(jax.random.key(0), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="groups=3 does not divide 4 channels and 6 features"):
        Conv1D(6, groups=3).init(jax.random.key(0), jnp.zeros((1, 2, 4)))
