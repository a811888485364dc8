from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.whisper import Whisper
from tests.models.contract import check_contract

TINY = partial(
    Whisper, vocab_size=13, num_mels=6, max_frames=9, max_length=8, features=16, num_layers=1, num_heads=2, hidden=24
)
FIXED = {"encoder/position_embedding": "sinusoids"}


@pytest.mark.parametrize(
    "options",
    [
        {"dropout_rate": 0.2, "attention_dropout_rate": 0.1, "remat": True},
        {"scan": True, "num_decoder_layers": 2},
    ],
)
def test_contract(options):
    inputs = {"features": (2, 18, 6), "targets": ((2, 5), "int32")}
    _, logits = check_contract(TINY(**options), inputs, vocabulary=13, exempt=FIXED)
    assert logits.shape == (2, 5, 13)


def given(model):
    features = jax.random.normal(jax.random.key(1), (2, 18, 6))
    targets = jax.random.randint(jax.random.key(2), (2, 7), 0, 13)
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, targets, train=False))()
    return variables, features, targets


def test_decoding_in_pieces_equals_the_whole():
    model = TINY(scan=True, num_decoder_layers=2)
    variables, features, targets = given(model)
    whole = model.apply(variables, features, targets, train=False)
    context = model.apply(variables, features, method="encode")

    @jax.jit
    def decode(targets, context, cache, mask):
        return model.apply(variables, targets, context, cache=cache, target_mask=mask, method="decode")

    # The second row is one token shorter; its prompt is padded behind.
    mask = jnp.array([[1, 1, 1], [1, 1, 0]])
    logits, cache = decode(targets[:, :3] * mask, context, model.empty_cache(2, 8), mask)
    assert cache.length.tolist() == [3, 2]
    np.testing.assert_allclose(logits[0], whole[0, :3], atol=1e-5)
    np.testing.assert_allclose(logits[1, :2], whole[1, :2], atol=1e-5)
    for step in range(3):
        tokens = jnp.stack((targets[0, 3 + step], targets[1, 2 + step]))[:, None]
        logits, cache = decode(tokens, None, cache, None)
        np.testing.assert_allclose(logits[0, 0], whole[0, 3 + step], atol=1e-5)
        np.testing.assert_allclose(logits[1, 0], whole[1, 2 + step], atol=1e-5)


def test_a_target_sees_none_behind_it_and_all_of_the_audio():
    model = TINY()
    variables, features, targets = given(model)
    variables = jax.tree.map(lambda leaf: 5 * leaf, variables)  # So that the changes are larger than rounding.
    run = jax.jit(lambda features, targets: model.apply(variables, features, targets, train=False))
    logits, changed = run(features, targets), run(features, targets.at[:, 4:].add(1) % 13)
    np.testing.assert_allclose(changed[:, :4], logits[:, :4], atol=1e-6)
    assert (changed[:, 4:] != logits[:, 4:]).any()
    other = run(features.at[:, -1].add(1.0), targets)
    assert (jnp.abs(other - logits).max((0, 2)) > 1e-4).all()


def test_what_does_not_fit_is_refused():
    model, targets = TINY(), jnp.zeros((1, 4), jnp.int32)
    with pytest.raises(ValueError, match="num_heads=3 does not divide features=16"):
        TINY(num_heads=3)
    with pytest.raises(ValueError, match=r"\(B, frames, 6\), not \(1, 6, 18\)"):
        model.init(jax.random.key(0), jnp.zeros((1, 6, 18)), targets, train=False)
    with pytest.raises(ValueError, match="10 frames after the convolutions are more than 9"):
        model.init(jax.random.key(0), jnp.zeros((1, 19, 6)), targets, train=False)
    with pytest.raises(ValueError, match="9 tokens are more than max_length=8"):
        model.init(jax.random.key(0), jnp.zeros((1, 18, 6)), jnp.zeros((1, 9), jnp.int32), train=False)
