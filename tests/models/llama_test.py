import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config
from jaxdl.models.llama import Llama
from tests.models.contract import check_contract
from tests.models.decoding import check_cache, check_packing, check_scan, variables_of

SIZES = {"vocab_size": 30, "features": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "hidden": 24}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 30, (3, 8)), jnp.int32)


@pytest.mark.parametrize(
    "model",
    [
        Llama(**SIZES),
        Llama(**SIZES, scan=True, remat=True, window=3, tie_embeddings=True, dropout_rate=0.1),
        Llama(**SIZES, attention_bias=True, feedforward_bias=True, head_dim=6, attention_dropout_rate=0.2),
    ],
    ids=["plain", "scanned", "biases"],
)
def test_the_contract(model):
    check_contract(model, {"tokens": ((3, 8), "int32")}, vocabulary=30)


@pytest.mark.parametrize("options", [{}, {"window": 3, "tie_embeddings": True}, {"num_kv_heads": 1, "head_dim": 6}])
def test_the_cache_gives_what_is_had_without_it(options):
    model = Llama(**{**SIZES, **options}, scan=True)
    variables = variables_of(model, TOKENS)

    def step(tokens, token_mask, cache):
        return model.apply(variables, tokens, token_mask=token_mask, cache=cache, train=False)

    check_cache(lambda tokens: model.apply(variables, tokens, train=False), step, model.empty_cache(3, 11), 30)


@pytest.mark.parametrize("window", [None, 3])
def test_packed_documents_are_as_if_alone(window):
    model = Llama(**SIZES, window=window)
    check_packing(model, variables_of(model, TOKENS), 30)


def test_scanning_and_recomputing_change_nothing():
    check_scan(Llama(**SIZES, window=5), {"tokens": TOKENS})


def test_a_window_hides_what_is_further_behind():
    model = Llama(**{**SIZES, "num_layers": 1}, window=3)
    variables = variables_of(model, TOKENS)
    apply = jax.jit(model.apply)
    before, after = (apply(variables, tokens) for tokens in (TOKENS, TOKENS.at[:, 2].set((TOKENS[:, 2] + 1) % 30)))
    changed = jnp.abs(after - before).max(axis=(0, 2)) > 1e-4
    assert changed.tolist() == [False, False, True, True, True, False, False, False]


def test_only_distances_count():
    model = Llama(**SIZES)
    variables = variables_of(model, TOKENS)
    moved = model.apply(variables, TOKENS, positions=100 + jnp.arange(8)[None], train=False)
    np.testing.assert_allclose(moved, model.apply(variables, TOKENS, train=False), rtol=0, atol=1e-4)


def test_the_cache_has_the_key_and_value_heads_and_type_of_the_model():
    cache = Llama(**SIZES, dtype="bfloat16").empty_cache(2, 5)
    assert cache.layers[1].tokens.key.shape == (2, 5, 2, 4)
    assert cache.layers[1].tokens.value.dtype == jnp.bfloat16


def test_a_config_makes_it():
    spec = config.spec(Llama, **SIZES, rope_original_length=64)
    config.check(spec)
    assert config.build(spec) == Llama(**SIZES, rope_original_length=64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Llama(features=10, num_heads=3), "num_heads=3 does not divide features=10"),
        (lambda: Llama(num_kv_heads=3), "num_kv_heads=3 does not divide num_heads=32"),
        (lambda: Llama(head_dim=5), "head_dim=5 must be even"),
        (lambda: Llama(window=0), "window=0"),
        (lambda: Llama(activation="sulu"), "sulu"),
        (
            lambda: Llama(**SIZES).init(jax.random.key(0), TOKENS, cache=Llama(**SIZES).empty_cache(3, 4)),
            r"8 tokens.*room for: 4",
        ),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
