import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config
from jaxdl.models.gpt2 import GPT2
from tests.models.contract import check_contract
from tests.models.decoding import check_cache, check_packing, check_scan, variables_of

SIZES = {"vocab_size": 30, "max_length": 12, "features": 16, "num_layers": 2, "num_heads": 2}
PLAIN = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 30, (3, 8)), jnp.int32)


@pytest.mark.parametrize(
    "model",
    [GPT2(**SIZES), GPT2(**SIZES, **PLAIN, tie_embeddings=False, scan=True, remat=True)],
    ids=["tied", "scanned"],
)
def test_the_contract(model):
    check_contract(model, {"tokens": ((3, 12), "int32")}, vocabulary=30)


def test_the_cache_gives_what_is_had_without_it():
    model = GPT2(**SIZES, scan=True)
    variables = variables_of(model, TOKENS)

    def step(tokens, token_mask, cache):
        return model.apply(variables, tokens, token_mask=token_mask, cache=cache, train=False)

    check_cache(lambda tokens: model.apply(variables, tokens, train=False), step, model.empty_cache(3, 12), 30)


def test_packed_documents_are_as_if_alone():
    model = GPT2(**SIZES)
    check_packing(model, variables_of(model, TOKENS), 30)


def test_scanning_and_recomputing_change_nothing():
    check_scan(GPT2(**SIZES), {"tokens": TOKENS})


def test_no_token_sees_those_behind():
    model = GPT2(**SIZES)
    variables = variables_of(model, TOKENS)
    apply = jax.jit(model.apply)
    before, after = (apply(variables, tokens) for tokens in (TOKENS, TOKENS.at[:, 5].set((TOKENS[:, 5] + 1) % 30)))
    np.testing.assert_allclose(after[:, :5], before[:, :5], rtol=0, atol=1e-6)
    assert (jnp.abs(after - before).max(axis=(0, 2))[5:] > 1e-3).all()


def test_branches_begin_smaller_in_deeper_models():
    model = GPT2(vocab_size=10, max_length=4, features=64, num_layers=8, num_heads=2)
    block = model.init(jax.random.key(0), TOKENS[:, :4])["params"]["layers"]["block_3"]
    np.testing.assert_allclose(block["attention"]["query"]["kernel"].std(), 0.02, rtol=0.1)
    for kernel in (block["attention"]["out"]["kernel"], block["feedforward"]["down"]["kernel"]):
        np.testing.assert_allclose(kernel.std(), 0.02 / 4, rtol=0.1)


def test_a_config_makes_it():
    spec = config.spec(GPT2, **SIZES)
    config.check(spec)
    assert config.build(spec) == GPT2(**SIZES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GPT2(features=10, num_heads=3), "num_heads=3 does not divide features=10"),
        (lambda: GPT2(activation="gelo"), "gelo"),
        (lambda: GPT2(**SIZES).init(jax.random.key(0), jnp.ones((1, 13), int)), r"13 tokens.*12"),
        (lambda: GPT2(**SIZES).empty_cache(1, 13), r"13 tokens.*max_length=12"),
        (
            lambda: GPT2(**SIZES).init(jax.random.key(0), TOKENS, cache=GPT2(**SIZES).empty_cache(3, 4)),
            r"8 tokens.*room for: 4",
        ),
        (
            lambda: GPT2(**SIZES).init(
                jax.random.key(0), TOKENS, segments=TOKENS, cache=GPT2(**SIZES).empty_cache(3, 8)
            ),
            "no segments",
        ),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
