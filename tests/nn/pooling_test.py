import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import avg_pool, global_average_pool, max_pool

CASES = [
    ((8, 6), (2, 2), None, "VALID"),
    ((7, 9), (2, 3), None, "VALID"),
    ((6, 6), (3, 3), (2, 2), "VALID"),
    ((5, 5), (2, 2), (2, 2), "SAME"),
    ((6, 7), (3, 3), (2, 2), ((1, 1), (1, 1))),
]


@pytest.mark.parametrize(("size", "window", "strides", "padding"), CASES)
@pytest.mark.parametrize("ours", [max_pool, avg_pool])
def test_equals_flax_in_values_and_gradients(ours, size, window, strides, padding):
    theirs = flax.linen.max_pool if ours is max_pool else flax.linen.avg_pool
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))

    def run(pool):
        loss = lambda x: (jnp.sum(jnp.sin(y := pool(x))), y)  # noqa: E731
        return jax.jit(jax.grad(loss, has_aux=True))(x)

    actual = run(lambda x: ours(x, window, strides, padding))
    expected = run(lambda x: theirs(x, window, strides=strides or window, padding=padding))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected)


@pytest.mark.parametrize("strides", [(2, 2), (1, 1)])
def test_max_of_integers(strides):
    x = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    pooled = max_pool(x, (2, 2), strides)
    assert pooled.dtype == jnp.uint8
    assert pooled[0, -1, -1, 0] == 15


def test_equal_maxima_share_the_gradient():
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, (2, 2))))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient, np.full((1, 2, 2, 1), 0.25))


def test_global_average_is_the_mean_over_space():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(global_average_pool(jnp.asarray(x)), x.mean((1, 2)), atol=1e-6)


def test_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"window \(4, 4\).*\(3, 5\)"):
        max_pool(jnp.ones((1, 3, 5, 1)), (4, 4))
