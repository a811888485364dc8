import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdl.nn import StochasticDepth, check_rates


def apply(rate, x, seed=0, train=True):
    return StochasticDepth(rate).apply({}, x, train=train, rngs={"dropout": jax.random.key(seed)})


def test_whole_examples_are_dropped_and_the_rest_is_scaled():
    y = np.asarray(apply(0.25, jnp.ones((4000, 2, 3))))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all()
    # 0.75 within five standard errors: 5 * sqrt(0.75 * 0.25 / 4000) = 0.034.
    assert abs((y[:, 0, 0] > 0).mean() - 0.75) < 0.035


def test_the_expectation_is_the_input():
    assert abs(apply(0.5, jnp.ones((10_000, 1))).mean() - 1) < 0.05


@pytest.mark.parametrize(("rate", "train"), [(0.5, False), (0.0, True)])
def test_it_is_the_identity_without_randomness(rate, train):
    x = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(StochasticDepth(rate).apply({}, x, train=train), x)


def test_the_key_decides():
    x = jnp.ones((64, 1))
    np.testing.assert_array_equal(apply(0.5, x, 1), apply(0.5, x, 1))
    assert (apply(0.5, x, 1) != apply(0.5, x, 2)).any()


def test_a_dropped_infinity_is_zero_and_the_type_is_kept():
    y = apply(0.5, jnp.full((64, 1), jnp.inf, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert not jnp.isnan(y).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(ValueError, match=str(rate)):
        StochasticDepth(rate)


class Outer(nn.Module):
    inner: nn.Module
    attention_dropout_rate: float | None = 0.1
    decay_rate: float = 7.0


class Inner(nn.Module):
    stochastic_depth_rate: float = 0.0


def test_rates_are_probabilities_in_inner_modules_too():
    check_rates(Outer(inner=Inner()))
    check_rates(Outer(inner=Inner(), attention_dropout_rate=None))
    with pytest.raises(ValueError, match=r"`attention_dropout_rate` is a probability.* not -0.1"):
        check_rates(Outer(inner=Inner(), attention_dropout_rate=-0.1))
    with pytest.raises(ValueError, match=r"`model.inner.stochastic_depth_rate` is .* not nan"):
        check_rates(Outer(inner=Inner(stochastic_depth_rate=float("nan"))), "model.")
