import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import Conv
from jaxdl.nn.convolution import UpConv


@pytest.mark.parametrize(
    ("kernel_size", "stride", "groups", "size"),
    [
        *((1, 2, 1, 7), (1, 1, 2, 6), (3, 2, 1, 7), (3, 2, 1, 8), (3, 1, 4, 5), (7, 1, 1, 9)),
        *((3, 1, 1, 1), (3, 1, 1, 2), (3, 2, 1, 4), (5, 2, 1, 3)),
    ],
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 2}, "odd.*not 2"),
        ({"stride": 0}, "stride.*not 0"),
        ({"padding": "SAME"}, "padding must be one of.*not 'SAME'"),
    ],
)
def test_bad_sizes_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        Conv(3, **options)


def test_a_batch_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"not shape \(2, 3\)"):
        Conv(3).init(jax.random.key(0), jnp.ones((2, 3)))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "groups", "size"),
    [(3, 2, 1, 7), (3, 2, 1, 8), (5, 2, 4, 8), (2, 2, 1, 7), (4, 4, 1, 8), (7, 1, 4, 9), (3, 3, 1, 7)],
)
def test_paddings_of_tensorflow_equal_those_of_xla(padding, kernel_size, stride, groups, size):
    x = jax.random.normal(jax.random.key(0), (2, size, size + 1, 4))
    conv = Conv(8 if groups == 1 else 4, kernel_size, stride, groups, use_bias=False, padding=padding)
    variables = conv.init(jax.random.key(1), x)
    expected = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (stride, stride),
        padding.upper(),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(conv.apply(variables, x), expected, atol=1e-5)


def test_the_transposed_convolution_equals_torch():
    torch = pytest.importorskip("torch")
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    layer = UpConv(6, 2)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, layer.init(jax.random.key(1), x))
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    expected = torch.nn.functional.conv_transpose2d(
        torch.tensor(np.asarray(x).transpose(0, 3, 1, 2)),
        torch.tensor(kernel.transpose(2, 3, 0, 1)),
        torch.tensor(bias),
        stride=2,
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected.permute(0, 2, 3, 1), atol=1e-5)
