import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models.vit import ViT
from tests.models.contract import check_contract

SIZES = {"patch_size": 4, "features": 16, "num_layers": 2, "num_heads": 2, "hidden": 24}
ONE = {**SIZES, "num_layers": 1}
IMAGE = jax.random.normal(jax.random.key(1), (2, 8, 12, 3))


@pytest.mark.parametrize(
    "model",
    [
        ViT(num_classes=5, **SIZES, pooling="mean", positions="sinusoidal", stochastic_depth_rate=0.3, scan=True),
        ViT(num_classes=5, **SIZES, distilled=True, dropout_rate=0.1, stochastic_depth_rate=0.3, remat=True),
        ViT(num_classes=None, **ONE, embedding_norm=True, patch_bias=False, qkv_bias=False, scale_init=1e-2),
    ],
    ids=["mean", "distilled", "features"],
)
def test_the_contract(model):
    check_contract(model, {"image": (6, 8, 12, 3)})


def test_mean_pooling_without_positions_ignores_the_order_of_patches():
    model = ViT(num_classes=3, **SIZES, pooling="mean")
    variables = model.init(jax.random.key(0), IMAGE, train=False)
    params = {**variables["params"], "position_embedding": jnp.zeros((6, 16))}
    flipped = jnp.concatenate((IMAGE[:, 4:], IMAGE[:, :4]), axis=1)
    found, expected = (model.apply({"params": params}, image, train=False) for image in (flipped, IMAGE))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_heads_are_averaged():
    model = ViT(num_classes=3, **SIZES, distilled=True)
    variables = model.init(jax.random.key(0), IMAGE, train=False)
    heads = model.apply(variables, IMAGE, train=True, method="heads")
    np.testing.assert_allclose(model.apply(variables, IMAGE, train=False), (heads[0] + heads[1]) / 2, atol=1e-6)
    assert (heads[0] != heads[1]).any()


def test_scanning_changes_no_parameter_and_no_result():
    plain, scanned = ViT(num_classes=3, **SIZES), ViT(num_classes=3, **SIZES, scan=True)
    variables = plain.init(jax.random.key(0), IMAGE, train=False)
    made = jax.eval_shape(lambda: scanned.init(jax.random.key(0), IMAGE, train=False))
    assert trees.names(variables) == trees.names(made)
    found, expected = (model.apply(variables, IMAGE, train=False) for model in (scanned, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViT(num_classes=2, features=10, num_heads=3), "num_heads=3"),
        (lambda: ViT(num_classes=2, pooling="last"), "pooling.*'last'"),
        (lambda: ViT(num_classes=2, positions="rotary"), "positions.*'rotary'"),
        (lambda: ViT(num_classes=2, pooling="mean", distilled=True), "distilled.*'mean'"),
        (lambda: ViT(num_classes=2).init(jax.random.key(0), IMAGE, train=False), "16 pixels.*8 x 12"),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
