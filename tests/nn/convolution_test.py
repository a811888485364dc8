import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import Conv


@pytest.mark.parametrize(
    ("kernel_size", "stride", "groups", "size"),
    [(1, 2, 1, 7), (1, 1, 2, 6), (3, 2, 1, 7), (3, 2, 1, 8), (3, 1, 4, 5), (7, 1, 1, 9)],
)
def test_equals_torch_with_symmetric_padding(kernel_size, stride, groups, size):
    torch = pytest.importorskip("torch")
    x = jax.random.normal(jax.random.key(0), (2, size, size + 1, 4))
    conv = Conv(6 if groups < 4 else 8, kernel_size, stride, groups, bias_init=jax.nn.initializers.normal())
    variables = conv.init(jax.random.key(1), x)
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))

    image = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2), requires_grad=True)
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    expected = torch.nn.functional.conv2d(
        image, weight, torch.tensor(bias), stride, padding=kernel_size // 2, groups=groups
    )
    torch.sin(expected).sum().backward()

    np.testing.assert_allclose(conv.apply(variables, x), expected.detach().permute(0, 2, 3, 1), atol=1e-5)
    gradients = jax.jit(jax.grad(lambda v, x: jnp.sum(jnp.sin(conv.apply(v, x))), (0, 1)))(variables, x)
    np.testing.assert_allclose(gradients[0]["params"]["kernel"], weight.grad.permute(2, 3, 1, 0), atol=1e-4)
    np.testing.assert_allclose(gradients[1], image.grad.permute(0, 2, 3, 1), atol=1e-4)


def test_dtype_and_bias_are_optional():
    x = jnp.ones((1, 4, 4, 2))
    y, variables = Conv(3, use_bias=False, dtype="bfloat16").init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert set(variables["params"]) == {"kernel"}
    assert variables["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize(("options", "message"), [({"kernel_size": 2}, "odd.*not 2"), ({"stride": 0}, "stride.*not 0")])
def test_bad_sizes_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        Conv(3, **options)


def test_a_batch_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"not shape \(2, 3\)"):
        Conv(3).init(jax.random.key(0), jnp.ones((2, 3)))
