import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn.depthwise import depthwise_convolution, grouped_convolution

CASES = [
    (3, 1, (7, 8), ((1, 1), (1, 1))),
    (3, 2, (7, 8), ((0, 1), (0, 1))),
    (5, 2, (9, 6), ((2, 2), (1, 2))),
    (7, 1, (4, 5), ((3, 3), (3, 3))),
    (2, 2, (5, 5), ((0, 0), (0, 0))),
    (3, 3, (5, 8), ((1, 1), (0, 0))),
]


def draw(size, shape):
    x = jax.random.normal(jax.random.key(0), (3, *shape, 4))
    return x, jax.random.normal(jax.random.key(1), (size, size, 1, 4))


@pytest.mark.parametrize(("size", "stride", "shape", "margins"), CASES)
def test_values_and_gradients_are_those_of_the_grouped_convolution(size, stride, shape, margins):
    x, kernel = draw(size, shape)

    def both(convolve):
        return jax.jit(jax.value_and_grad(lambda x, k: jnp.sin(convolve(x, k, stride, margins)).sum(), (0, 1)))

    ours, theirs = both(depthwise_convolution)(x, kernel), both(grouped_convolution)(x, kernel)
    for found, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_other_platforms_get_the_grouped_convolution():
    x, kernel = draw(3, (6, 6))
    traced = jax.jit(jax.grad(lambda x: depthwise_convolution(x, kernel, 1, ((1, 1), (1, 1))).sum())).trace(x)
    assert "stablehlo.convolution" in traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_half_precision_is_summed_in_single():
    x, kernel = (leaf.astype("bfloat16") for leaf in draw(5, (6, 6)))
    margins = ((2, 2), (2, 2))
    y = depthwise_convolution(x, kernel, 1, margins)
    exact = grouped_convolution(x.astype("float32"), kernel.astype("float32"), 1, margins)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, exact.astype("bfloat16"))


def test_batches_of_kernels_and_products_with_the_hessian():
    x, kernel = draw(3, (5, 5))
    margins = ((1, 1), (1, 1))

    def loss(kernel):
        return (depthwise_convolution(x, kernel, 1, margins) ** 2).sum()

    np.testing.assert_allclose(
        jax.vmap(loss)(jnp.stack([kernel, 2 * kernel])), loss(kernel) * jnp.array([1, 4]), rtol=1e-5
    )
    # A quadratic: the Hessian times the kernel is its gradient.
    _, product = jax.jvp(jax.grad(loss), (kernel,), (kernel,))
    np.testing.assert_allclose(product, jax.grad(loss)(kernel), rtol=1e-4, atol=1e-4)
