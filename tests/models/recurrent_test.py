"""Recurrent classifiers and language models, and bags of embeddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.models.published.recurrent import PUBLISHED
from jaxdl.models.recurrent import BagOfEmbeddings, RecurrentClassifier, RecurrentLanguageModel
from jaxdl.nn import pool_tokens
from tests.models.contract import check_contract

MASK = jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
TEXT = {"tokens": ((4, 5), "int32"), "token_mask": MASK}
VOCABULARY = 11


def classifier(**options):
    return RecurrentClassifier(3, vocab_size=VOCABULARY, embedding_dim=6, features=5, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "lstm", "bidirectional": True, "num_layers": 2, "dropout_rate": 0.3},
        {"kind": "gru", "pooling": "mean", "word_dropout_rate": 0.3, "remat": True},
        {"kind": "rnn", "pooling": "max", "activation": "relu"},
    ],
    ids=lambda options: options["kind"],
)
def test_classifiers_keep_the_contract(options):
    _, logits = check_contract(classifier(**options), TEXT, vocabulary=VOCABULARY)
    assert logits.shape == (4, 3)


def test_a_classifier_of_features_keeps_the_contract():
    model = RecurrentClassifier(3, features=5, kind="gru", bidirectional=True)
    check_contract(model, {"features": (4, 5, 7), "lengths": MASK.sum(1)})


def test_a_language_model_keeps_the_contract():
    model = RecurrentLanguageModel(VOCABULARY, features=6, dropout_rate=0.3)
    _, logits = check_contract(model, {"tokens": ((4, 5), "int32")}, vocabulary=VOCABULARY)
    assert logits.shape == (4, 5, VOCABULARY)


@pytest.mark.parametrize("widths", [(), (7,)])
def test_bags_keep_the_contract(widths):
    model = BagOfEmbeddings(3, VOCABULARY, embedding_dim=6, widths=widths, word_dropout_rate=0.4, dropout_rate=0.2)
    check_contract(model, TEXT, vocabulary=VOCABULARY)


@settings(max_examples=10, deadline=None)
@given(kind=st.sampled_from(["last", "mean", "max", "bag"]), length=st.sampled_from([1, 3, 5]), seed=st.integers(0, 99))
def test_padding_changes_nothing(kind, length, seed):
    tokens = jax.random.randint(jax.random.key(seed), (1, 5), 0, VOCABULARY)
    alone = run(kind)(tokens[:, :length])
    np.testing.assert_allclose(run(kind)(tokens, jnp.arange(5)[None] < length), alone, atol=1e-6)


@functools.cache
def run(kind):
    bag = BagOfEmbeddings(3, VOCABULARY)
    model = bag if kind == "bag" else classifier(pooling=kind, bidirectional=True)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
    return jax.jit(functools.partial(model.apply, variables, train=False))


def test_a_classifier_equals_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    embed, lstm, head = torch.nn.Embedding(VOCABULARY, 6), torch.nn.LSTM(6, 5, batch_first=True), torch.nn.Linear(5, 3)
    params = {
        "embed": {"embedding": embed.weight},
        "encoder": {
            "forward_0": {
                "kernel": lstm.weight_ih_l0.T,
                "recurrent_kernel": lstm.weight_hh_l0.T,
                "bias": lstm.bias_ih_l0 + lstm.bias_hh_l0,
            }
        },
        "head": {"kernel": head.weight.T, "bias": head.bias},
    }
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf.detach().numpy()), params)
    tokens = np.arange(15).reshape(3, 5) % VOCABULARY
    _, (hidden, _) = lstm(embed(torch.tensor(tokens)))
    logits = classifier().apply({"params": params}, tokens, train=False)
    np.testing.assert_allclose(logits, head(hidden[0]).detach(), atol=1e-5)


def test_a_bag_equals_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.EmbeddingBag(VOCABULARY, 6, mode="mean")
    tokens = np.array([[1, 4, 4, 9], [2, 0, 0, 0]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    expected = theirs(torch.tensor([1, 4, 4, 9, 2, 0]), torch.tensor([0, 4])).detach()
    params = {"embed": {"embedding": jnp.asarray(theirs.weight.detach().numpy())}}
    found = BagOfEmbeddings(None, VOCABULARY, embedding_dim=6).apply({"params": params}, tokens, mask, train=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_row_without_tokens_gives_finite_results():
    x = jnp.ones((2, 3, 4))
    for pooling in ("mean", "max"):
        np.testing.assert_array_equal(pool_tokens(x, jnp.array([[0, 0, 0], [1, 0, 0]]), pooling), [[0] * 4, [1] * 4])


def test_no_head_gives_the_features_before_it():
    tokens = jnp.zeros((2, 4), jnp.int32)
    model = RecurrentClassifier(None, vocab_size=VOCABULARY, features=5, bidirectional=True)
    found, variables = model.init_with_output(jax.random.key(0), tokens, train=False)
    assert found.shape == (2, 10)
    assert "head" not in variables["params"]


def test_a_language_model_sees_no_later_token_and_goes_on_from_a_state():
    model = RecurrentLanguageModel(VOCABULARY, features=6, tied=True, kind="gru")
    tokens = jnp.arange(10).reshape(2, 5)
    variables = model.init(jax.random.key(0), tokens, train=False)
    assert "head" not in variables["params"]
    whole = model.apply(variables, tokens, train=False)
    _, state = model.apply(variables, tokens[:, :3], method="read")
    rest, _ = model.apply(variables, tokens[:, 3:], None, state, method="read")
    np.testing.assert_allclose(rest, whole[:, 3:], atol=1e-6)
    other = model.apply(variables, tokens.at[:, 3].set(0), train=False)
    np.testing.assert_array_equal(other[:, :3], whole[:, :3])
    assert (other[:, 3:] != whole[:, 3:]).any()


def test_the_right_input_is_asked_for():
    with pytest.raises(ValueError, match="takes tokens"):
        classifier().init(jax.random.key(0), features=jnp.zeros((1, 2, 3)), train=False)
    with pytest.raises(ValueError, match="takes features"):
        RecurrentClassifier(3).init(jax.random.key(0), tokens=jnp.zeros((1, 2), jnp.int32), train=False)
    with pytest.raises(ValueError, match="pooling must be"):
        classifier(pooling="first")


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_published_sizes_are_those_of_torch_with_one_bias(entry):
    torch = pytest.importorskip("torch")
    model = entry.make()
    tokens = jnp.zeros((1, 3), jnp.int32)
    made = jax.eval_shape(lambda key: model.init(key, tokens=tokens, train=False), jax.random.key(0))
    found = sum(leaf.size for leaf in jax.tree.leaves(made))
    width = model.embedding_dim if isinstance(model, RecurrentClassifier) else model.features
    directions = 2 if isinstance(model, RecurrentClassifier) else 1
    outputs = model.num_classes if isinstance(model, RecurrentClassifier) else model.vocab_size
    lstm = torch.nn.LSTM(width, model.features, model.num_layers, bidirectional=directions == 2, device="meta")
    count = sum(p.numel() for name, p in lstm.named_parameters() if not name.startswith("bias_hh"))
    count += model.vocab_size * width + directions * model.features * outputs + outputs
    assert found == count == entry.parameters
