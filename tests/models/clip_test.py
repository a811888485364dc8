import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config
from jaxdl.models.bert import Bert
from jaxdl.models.clip import CLIP, ClipText, clip_vit
from tests.models.contract import check_contract

pytestmark = pytest.mark.slow  # Many programs to compile.

SIZES = {"features": 16, "num_layers": 1, "num_heads": 2, "hidden": 24}
TEXT = {**SIZES, "vocab_size": 30, "max_length": 9}
MODEL = CLIP(image_encoder=clip_vit(patch_size=4, **SIZES), text_encoder=ClipText(**TEXT), features=8)
TOKENS = jnp.array([[3, 4, 29, 1, 1], [5, 29, 7, 8, 6]])


def test_the_contract():
    inputs = {"image": (3, 8, 8, 3), "tokens": ((3, 7), "int32")}
    _, outputs = check_contract(MODEL, inputs, vocabulary=30)
    np.testing.assert_allclose(jnp.linalg.norm(outputs["image"], axis=-1), 1, rtol=1e-6)
    assert outputs["scale"].shape == ()


@pytest.mark.parametrize(
    "model", [ClipText(**TEXT, dropout_rate=0.1), ClipText(**{**TEXT, "num_layers": 2}, scan=True, remat=True)]
)
def test_the_contract_of_the_text_tower(model):
    check_contract(model, {"tokens": ((3, 7), "int32")}, vocabulary=30)


@pytest.mark.parametrize("end_token", [29, None])
def test_nothing_behind_the_end_of_a_text_matters(end_token):
    model = ClipText(**TEXT, end_token=end_token)
    variables = model.init(jax.random.key(0), TOKENS, train=False)
    outputs = model.apply(variables, TOKENS, train=False)
    for row, length in enumerate((3, 2)):
        alone = model.apply(variables, TOKENS[row : row + 1, :length], train=False)
        np.testing.assert_allclose(outputs["pooled"][row], alone["pooled"][0], atol=1e-6)
        np.testing.assert_array_equal(outputs["pooled"][row], outputs["hidden"][row, length - 1])


def test_the_towers_run_alone_and_in_unequal_numbers():
    image = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    variables = MODEL.init(jax.random.key(0), image, TOKENS, train=False)
    outputs = MODEL.apply(variables, image, TOKENS, train=False)
    assert (outputs["image"].shape, outputs["text"].shape) == ((3, 8), (2, 8))
    text = MODEL.apply(variables, TOKENS, train=False, method="encode_text")
    images = MODEL.apply(variables, image, train=False, method="encode_image")
    np.testing.assert_allclose(outputs["text"], text, atol=1e-6)
    np.testing.assert_allclose(outputs["image"], images, atol=1e-6)
    np.testing.assert_allclose(outputs["scale"], 1 / 0.07, rtol=1e-6)


def test_a_config_makes_it_and_other_text_towers_fit():
    text = config.spec(Bert, vocab_size=30, max_length=9, **SIZES)
    spec = config.spec(CLIP, image_encoder=config.spec(clip_vit, patch_size=4, **SIZES), text_encoder=text)
    config.check(spec)
    model = config.build(spec)
    outputs, _ = model.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 3)), TOKENS, train=False)
    assert outputs["text"].shape == (2, 512)


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="10 tokens are more than max_length=9"):
        ClipText(**TEXT).init(jax.random.key(0), jnp.ones((1, 10), int), train=False)
    with pytest.raises(ValueError, match="num_heads=3"):
        ClipText(features=16, num_heads=3)
