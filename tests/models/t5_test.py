import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config
from jaxdl.models.t5 import T5
from tests.models.contract import check_contract
from tests.models.decoding import check_cache, check_scan, variables_of

pytestmark = pytest.mark.slow  # Many programs to compile.

SIZES = {
    "vocab_size": 30,
    "features": 16,
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 6,
    "hidden": 24,
    "num_buckets": 8,
    "max_distance": 8,
}
RANDOM = np.random.default_rng(0)
TOKENS, TARGETS = (jnp.asarray(RANDOM.integers(0, 30, (3, count)), jnp.int32) for count in (12, 9))
MASK = jnp.asarray((np.arange(12)[None] < np.array([12, 5, 1])[:, None]).astype(np.int32))
INPUTS = {"tokens": TOKENS, "targets": TARGETS, "token_mask": MASK}


@pytest.mark.parametrize(
    "model",
    [
        T5(**SIZES),
        T5(**SIZES, gated=True, activation="gelu", tie_embeddings=False, scan=True, remat=True, dropout_rate=0.0),
    ],
    ids=["1.0", "1.1"],
)
def test_the_contract(model):
    inputs = {"tokens": ((3, 12), "int32"), "targets": ((3, 9), "int32"), "token_mask": MASK}
    check_contract(model, inputs, vocabulary=30)


@pytest.mark.parametrize("options", [{}, {"num_decoder_layers": 1, "tie_embeddings": False, "gated": True}])
def test_the_cache_gives_what_is_had_without_it(options):
    model = T5(**SIZES, **options, scan=True)
    variables = variables_of(model, TOKENS, TARGETS)
    encode = jax.jit(lambda: model.apply(variables, TOKENS, token_mask=MASK, method="encode"))
    context = encode()

    def whole(targets):
        return model.apply(variables, TOKENS, targets, token_mask=MASK, train=False)

    def step(targets, target_mask, cache):
        first = context if cache.layers[0].context is None else None
        others = {"token_mask": MASK, "target_mask": target_mask, "cache": cache}
        return model.apply(variables, targets, first, **others, method="decode")

    _, cache = jax.jit(step)(TARGETS[:, :1], jnp.zeros((3, 1)), model.empty_cache(3, 11))
    assert cache.length.tolist() == [0, 0, 0]
    check_cache(whole, step, cache, 30)


def test_padding_changes_nothing():
    model = T5(**SIZES)
    variables = variables_of(model, TOKENS, TARGETS)
    target_mask = (jnp.arange(9)[None] < jnp.array([[9], [4], [2]])).astype(jnp.int32)
    apply = jax.jit(model.apply)
    found = apply(variables, **INPUTS, target_mask=target_mask)
    for row, (source, target) in enumerate(((12, 9), (5, 4), (1, 2))):
        alone = apply(variables, TOKENS[row : row + 1, :source], TARGETS[row : row + 1, :target])
        np.testing.assert_allclose(found[row, :target], alone[0], rtol=0, atol=1e-5)


def test_scanning_and_recomputing_change_nothing():
    check_scan(T5(**SIZES), INPUTS)


def test_the_layers_of_a_side_share_one_table_of_distances():
    params = T5(**SIZES).init(jax.random.key(0), TOKENS, TARGETS)["params"]
    assert params["encoder"]["position_bias"]["embedding"].shape == (8, 2)
    assert sorted(params["decoder"]) == ["final_norm", "layers", "position_bias"]
    assert sorted(params) == ["decoder", "encoder", "token_embedding"]


def test_a_tied_output_is_scaled_unless_told_otherwise():
    model = T5(**SIZES)
    variables = variables_of(model, TOKENS, TARGETS)
    scaled, plain = (m.apply(variables, **INPUTS, train=False) for m in (model, model.clone(scale_logits=False)))
    np.testing.assert_allclose(4 * scaled, plain, rtol=1e-5, atol=1e-5)


def test_a_config_makes_it():
    spec = config.spec(T5, **SIZES)
    config.check(spec)
    assert config.build(spec) == T5(**SIZES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T5(activation="gelo"), "gelo"),
        (lambda: T5(num_buckets=6), "num_buckets=6"),
        (lambda: T5(max_distance=16), "max_distance=16"),
        (
            lambda: T5(**SIZES).init(jax.random.key(0), TARGETS, method="decode", cache=T5(**SIZES).empty_cache(3, 9)),
            "context",
        ),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
