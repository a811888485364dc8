import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config, trees
from jaxdl.models.bert import Bert, roberta
from jaxdl.models.text_heads import MaskedLanguageModel, SentenceEncoder, SpanExtractor, TextClassifier, pool
from tests.models.contract import check_contract

SIZES = {"vocab_size": 30, "max_length": 12, "features": 16, "num_layers": 2, "num_heads": 2, "hidden": 24}
ONE = {**SIZES, "num_layers": 1}
MASK = (np.arange(8)[None] < np.array([8, 5, 1])[:, None]).astype(np.int32)
INPUTS = {"tokens": ((3, 8), "int32"), "token_types": np.array([[0] * 4 + [1] * 4] * 3, np.int32), "token_mask": MASK}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(2, 30, (3, 8)), jnp.int32)


@pytest.mark.parametrize(
    "model",
    [
        Bert(**ONE),
        Bert(**SIZES, scan=True, remat=True, num_types=2, pooler=False),
        roberta(**ONE, num_types=2, dropout_rate=0.0, attention_dropout_rate=0.0),
    ],
    ids=["bert", "scanned", "roberta"],
)
def test_the_contract_of_encoders(model):
    check_contract(model, INPUTS, vocabulary=30)


@pytest.mark.parametrize(
    "model",
    [
        TextClassifier(encoder=Bert(**ONE), num_classes=3, pooling="pooled"),
        TextClassifier(encoder=Bert(**ONE, pooler=False), num_classes=None, pooling="mean", transform=True),
        SpanExtractor(encoder=Bert(**ONE, pooler=False)),
        MaskedLanguageModel(encoder=Bert(**ONE, pooler=False)),
    ],
    ids=["pooled", "mean", "span", "masked"],
)
def test_the_contract_of_heads(model):
    check_contract(model, INPUTS, vocabulary=30, random=True)


def test_the_contract_of_sentence_encoders():
    model = SentenceEncoder(encoder=Bert(**ONE, pooler=False))
    _, vectors = check_contract(model, INPUTS, vocabulary=30, random=True, half=False)
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=-1), 1, rtol=1e-6)


def test_padding_changes_nothing():
    model = SentenceEncoder(encoder=Bert(**SIZES))
    variables = model.init(jax.random.key(0), TOKENS, train=False)
    found = model.apply(variables, TOKENS, token_mask=jnp.asarray(MASK), train=False)
    for row, length in enumerate((8, 5, 1)):
        alone = model.apply(variables, TOKENS[row : row + 1, :length], train=False)
        np.testing.assert_allclose(found[row], alone[0], atol=2e-6)


def test_packed_documents_do_not_see_each_other():
    model = Bert(**SIZES, pooler=False)
    variables = model.init(jax.random.key(0), TOKENS, train=False)
    packed = {
        "positions": jnp.array([[0, 1, 2, 0, 1, 2, 3, 4]]),
        "segments": jnp.array([[1, 1, 1, 2, 2, 2, 2, 2]]),
    }
    together = model.apply(variables, TOKENS[:1], **packed, train=False)["hidden"]
    for part in (slice(0, 3), slice(3, 8)):
        alone = model.apply(variables, TOKENS[:1, part], train=False)["hidden"]
        np.testing.assert_allclose(together[:, part], alone, atol=2e-6)


def test_roberta_counts_positions_over_the_tokens():
    tokens = jnp.array([[1, 1, 7, 8, 1]])
    positions = roberta(**SIZES)._positions(tokens)
    assert positions.tolist() == [[1, 1, 2, 3, 1]]


def test_scanning_changes_no_parameter_and_no_result():
    plain, scanned = Bert(**SIZES), Bert(**SIZES, scan=True)
    variables = plain.init(jax.random.key(0), TOKENS, train=False)
    made = jax.eval_shape(lambda: scanned.init(jax.random.key(0), TOKENS, train=False))
    assert trees.names(variables) == trees.names(made)
    found, expected = (model.apply(variables, TOKENS, train=False)["hidden"] for model in (scanned, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_config_makes_a_head_on_an_encoder():
    spec = config.spec(TextClassifier, encoder=config.spec(Bert, **SIZES), num_classes=2)
    config.check(spec)
    assert config.build(spec) == TextClassifier(encoder=Bert(**SIZES), num_classes=2)
    config.check(config.spec(TextClassifier, encoder=config.spec(roberta), num_classes=2))


def test_the_masked_model_ties_its_output_to_the_embedding():
    model = MaskedLanguageModel(encoder=Bert(**SIZES, pooler=False))
    variables = model.init(jax.random.key(0), TOKENS, train=False)
    assert sorted(variables["params"]) == ["encoder", "output_bias", "transform", "transform_norm"]
    changed = jax.tree.map(jnp.copy, variables)
    table = changed["params"]["encoder"]["token_embedding"]["embedding"]
    # Token 1 is in no text, so that its row acts at the output alone.
    changed["params"]["encoder"]["token_embedding"]["embedding"] = table.at[1].multiply(2)
    before, after = (model.apply(v, TOKENS, train=False) for v in (variables, changed))
    np.testing.assert_allclose(after[..., 1], 2 * before[..., 1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after[..., 2:], before[..., 2:], atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bert(features=10, num_heads=3), "num_heads=3 does not divide features=10"),
        (lambda: Bert(activation="gelo"), "gelo"),
        (lambda: TextClassifier(encoder=Bert(), num_classes=2, pooling="last"), "pooling.*'last'"),
        (lambda: SentenceEncoder(encoder=Bert(), pooling="max"), "pooling.*'max'"),
        (lambda: pool({"hidden": jnp.ones((1, 2, 3))}, None, "pooled"), "pooler=True"),
        (lambda: Bert(**SIZES).init(jax.random.key(0), jnp.ones((1, 13), int), train=False), "13 tokens.*12"),
        (
            lambda: Bert(**SIZES, num_types=0).init(jax.random.key(0), TOKENS, token_types=TOKENS, train=False),
            "num_types=0",
        ),
    ],
)
def test_bad_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
