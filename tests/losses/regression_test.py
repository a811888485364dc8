import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.losses import huber, l1, l2

PREDICTIONS, TARGETS = np.random.default_rng(0).normal(scale=2, size=(2, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(l1, "l1_loss", {}), (l2, "mse_loss", {}), (huber, "huber_loss", {}), (huber, "huber_loss", {"delta": 0.3})],
)
def test_equals_torch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    expected = getattr(torch.nn.functional, theirs)(
        torch.tensor(PREDICTIONS), torch.tensor(TARGETS), reduction="none", **options
    )
    np.testing.assert_allclose(ours(PREDICTIONS, TARGETS, **options), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [l1, l2, huber])
def test_computes_in_single_precision(loss):
    assert loss(jnp.ones(2, jnp.bfloat16), jnp.zeros(2, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("loss", [l1, l2, huber])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"\(6, 1\) and targets \(6,\)"):
        loss(jnp.ones((6, 1)), jnp.ones(6))
