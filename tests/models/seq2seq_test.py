"""Encoder-decoders: attention by hand, one token at a time, padding, and a string that is turned around."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.nn.alignment import Alignment, Memory
from tests.models.contract import check_contract

pytestmark = pytest.mark.slow  # Many programs to compile.

MASK = jnp.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
INPUTS = {"tokens": ((4, 5), "int32"), "targets": ((4, 3), "int32"), "token_mask": MASK}
VARIANTS = {
    "bahdanau": {"target_vocab_size": 9},
    "bahdanau_lstm": {"kind": "lstm", "num_layers": 2, "input_feeding": True, "dropout_rate": 0.2},
    "luong_general": {"style": "luong", "score": "general", "kind": "lstm", "remat": True},
    "luong_dot": {"style": "luong", "score": "dot", "bidirectional": False, "input_feeding": True, "num_layers": 2},
}


def make(name, **options):
    return RecurrentSeq2Seq(9, embedding_dim=6, features=5, readout_features=4, **VARIANTS[name] | options)


@functools.cache
def with_variables(name):
    model = make(name)
    tokens = jnp.ones((2, 4), jnp.int32)
    return model, jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), tokens, tokens)


@functools.cache
def attend(name):
    model, variables = with_variables(name)
    return jax.jit(functools.partial(model.apply, variables, method="attend"))


@pytest.mark.parametrize(
    "name", ["bahdanau_lstm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("luong_general", "luong_dot"))]
)
def test_the_models_keep_the_contract(name):
    _, logits = check_contract(make(name), INPUTS, vocabulary=9)
    assert logits.shape == (4, 3, 9)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_token_at_a_time_is_the_same_as_all_at_once(name):
    model, variables = with_variables(name)
    tokens, targets = (jax.random.randint(jax.random.key(seed), (4, 5), 0, 9) for seed in (1, 2))
    logits, weights = attend(name)(tokens, targets, MASK)
    state = jax.jit(functools.partial(model.apply, variables, method="encode"))(tokens, MASK)
    decode = jax.jit(functools.partial(model.apply, variables, method="decode"))
    for position in range(targets.shape[1]):
        shapes = jax.tree.map(jnp.shape, state)
        found, state, attention = decode(state, targets[:, position])
        np.testing.assert_allclose(found, logits[:, position], atol=1e-6)
        np.testing.assert_allclose(attention, weights[:, position], atol=1e-6)
        assert jax.tree.map(jnp.shape, state) == shapes
    assert all(len(leaf) == 4 for leaf in jax.tree.leaves(state))


@settings(max_examples=8, deadline=None)
@given(name=st.sampled_from(["bahdanau", "luong_dot"]), length=st.sampled_from([1, 4, 5]), seed=st.integers(0, 99))
def test_padding_gets_no_attention_and_changes_nothing(name, length, seed):
    tokens = jax.random.randint(jax.random.key(seed), (1, 5), 0, 9)
    targets = tokens[:, ::-1]
    mask = jnp.arange(5)[None] < length
    logits, weights = attend(name)(tokens, targets, mask)
    alone, expected = attend(name)(tokens[:, :length], targets)
    np.testing.assert_allclose(logits, alone, atol=1e-6)
    np.testing.assert_allclose(weights[..., :length], expected, atol=1e-6)
    np.testing.assert_array_equal(weights[..., length:], 0)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_no_logits_depend_on_later_targets():
    model, variables = with_variables("luong_dot")
    tokens = targets = jnp.arange(5)[None]
    run = jax.jit(functools.partial(model.apply, variables, train=False))
    first, second = (run(tokens, t) for t in (targets, targets.at[0, 3].set(0)))
    np.testing.assert_array_equal(first, attend("luong_dot")(tokens, targets)[0])
    np.testing.assert_array_equal(first[:, :3], second[:, :3])
    assert (first[:, 3:] != second[:, 3:]).any()


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_scores_are_those_of_the_papers(score):
    values, query = (jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((0, (2, 3, 4)), (1, (2, 4))))
    layer = Alignment(4, score)
    attend = lambda layer, query, values: layer(query, layer.remember(values, MASK[:2, :3]))  # noqa: E731
    (mean, weights), variables = layer.init_with_output(jax.random.key(2), query, values, method=attend)
    params = variables["params"] if score != "dot" else {}
    for row in range(2):
        q, scores = query[row], []
        for value in values[row]:
            if score == "additive":
                inner = q @ params["query"]["kernel"] + params["query"]["bias"] + value @ params["key"]["kernel"]
                scores.append(jnp.tanh(inner) @ params["weigh"]["kernel"][:, 0])
            else:
                scores.append(q @ (value if score == "dot" else value @ params["key"]["kernel"]))
        expected = jax.nn.softmax(jnp.stack(scores))
        np.testing.assert_allclose(weights[row], expected, atol=1e-6)
        np.testing.assert_allclose(mean[row], expected @ values[row], atol=1e-6)


def test_a_row_of_padding_gets_zeros():
    memory = Memory(jnp.ones((1, 3, 4)), jnp.ones((1, 3, 4)), jnp.zeros((1, 3)))
    mean, weights = Alignment(4, "dot").apply({}, jnp.ones((1, 4)), memory)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(weights, 0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="set bidirectional=False"):
        RecurrentSeq2Seq(9, score="dot")
    with pytest.raises(ValueError, match="style must be"):
        RecurrentSeq2Seq(9, style="vaswani")
    with pytest.raises(ValueError, match="score must be"):
        Alignment(4, "multiplicative")
    with pytest.raises(ValueError, match="'dot' needs values as wide"):
        Alignment(4, "dot").apply({}, jnp.ones((1, 2, 3)), method="remember")


def digits(seed, rows, length=6):
    """Digits from 2 to 11 with padding 0, their reverse, and that moved right after a start token 1."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, length + 1, rows)
    tokens = np.where(np.arange(length) < lengths[:, None], draw.integers(2, 12, (rows, length)), 0)
    targets = np.stack([np.pad(row[:count][::-1], (0, length - count)) for row, count in zip(tokens, lengths)])
    return tokens, targets, np.pad(targets, ((0, 0), (1, 0)), constant_values=1)[:, :-1], tokens != 0


def test_it_learns_to_turn_strings_around():
    model = RecurrentSeq2Seq(12, embedding_dim=32, features=48)
    optimizer = optax.adam(1e-2)
    tokens, targets, targets_in, mask = digits(0, 64)
    params = model.init(jax.random.key(0), tokens, targets_in, mask, train=True)

    @jax.jit
    def step(params, state, tokens, targets, targets_in, mask):
        def loss(params):
            logits = model.apply(params, tokens, targets_in, mask, train=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            return (losses * mask).sum() / mask.sum()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for seed in range(1, 301):
        params, state = step(params, state, *digits(seed, 64))

    tokens, targets, _, mask = digits(10_000, 200)
    decode = jax.jit(functools.partial(model.apply, params, method="decode"))
    carried, token, found = model.apply(params, tokens, mask, method="encode"), np.ones(200, int), []
    for _ in range(targets.shape[1]):
        logits, carried, _ = decode(carried, token)
        token = logits.argmax(-1)
        found.append(token)
    right = ((np.stack(found, 1) == targets) | ~mask).all(1)
    assert right.mean() > 0.95
