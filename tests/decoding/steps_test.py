from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.decoding import GREEDY, Sampling, begin, decode, generate, prefill, stepping
from tests.decoding.reference import END, log_softmax, table_logits, table_step, tiny, uncached

PROMPTS = ([3, 1, 4], [1, 5, 9, 2, 6, 5, 3], [7])


def padded(prompts):
    length = max(map(len, prompts))
    tokens = np.zeros((len(prompts), length), np.int32)
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)], mask[row, : len(prompt)] = prompt, 1
    return tokens, mask


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_greedy_equals_a_plain_loop_without_cache(dtype):
    model, variables = tiny(dtype)
    made = generate(model, variables, *padded(PROMPTS), key=jax.random.key(0), count=9)
    for row, prompt in enumerate(PROMPTS):
        # In bfloat16 the caches and the whole sequence round differently, so that later tokens may part.
        same = 9 if dtype is None else 3
        assert made.tokens[row, :same].tolist() == uncached(model, variables, prompt, 9)[:same]
    np.testing.assert_array_equal(made.lengths, 9)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2)])
def test_a_row_does_not_depend_on_the_others_or_their_padding(sampling):
    model, variables = tiny()
    keys = jax.random.split(jax.random.key(3), len(PROMPTS))

    def run(prompts, keys):
        tokens, mask = padded(prompts)
        logits, cache = prefill(model, variables, tokens, mask, 8)
        progress = begin(logits, cache, keys, tokens, mask)
        return decode(stepping(model, variables), progress, count=8, sampling=sampling, end=5)[0]

    whole = run(PROMPTS, keys)
    for row, prompt in enumerate(PROMPTS):
        alone = run([prompt], keys[row : row + 1])
        assert alone.tokens[0].tolist() == whole.tokens[row].tolist()
        np.testing.assert_allclose(alone.scores[0], whole.scores[row], rtol=1e-4)


def table_progress(rows=4, size=6, seed=0, scale=1.5):
    table = jnp.asarray(np.random.default_rng(seed).normal(size=(size, size, size), scale=scale), jnp.float32)
    last = jnp.zeros(rows, jnp.int32)
    progress = begin(table[last, last], last, jax.random.key(seed), np.zeros((rows, 2), np.int32), np.ones((rows, 2)))
    return table, progress


@pytest.mark.parametrize("end", [None, END])
def test_a_row_s_own_limit_is_as_a_count(end):
    table, progress = table_progress()
    limits = (7, 2, 0, 9)
    options = {"end": end, "pad": 0}
    made, after = decode(table_step(table), progress, count=7, limit=jnp.asarray(limits), **options)
    assert after.done.tolist()[:3] == [True, True, True]
    assert (int(made.lengths[2]), float(made.scores[2])) == (0, 0)
    for row, limit in [(0, 7), (1, 2), (3, 7)]:
        alone, _ = decode(table_step(table), progress, count=limit, **options)
        assert int(made.lengths[row]) == int(alone.lengths[row])
        assert made.tokens[row].tolist() == alone.tokens[row].tolist() + [0] * (7 - limit)
        np.testing.assert_allclose(made.scores[row], alone.scores[row], rtol=1e-6)


def test_splitting_the_count_draws_the_same():
    table, progress = table_progress()
    run = partial(decode, table_step(table), sampling=Sampling(repetition_penalty=1.1), end=END, pad=0)
    whole, last = run(progress, count=12)
    parts, now = [], progress
    for count, limit in ((5, None), (5, 3), (5, jnp.int32(4))):
        part, now = run(now, count=count, limit=limit)
        parts.append(part)
    tokens = np.concatenate([parts[0].tokens, parts[1].tokens[:, :3], parts[2].tokens[:, :4]], axis=1)
    np.testing.assert_array_equal(tokens, whole.tokens)
    assert not parts[1].tokens[:, 3:].any(), "what lies beyond the limit is padding"
    np.testing.assert_array_equal(sum(part.lengths for part in parts), whole.lengths)
    np.testing.assert_allclose(sum(part.scores for part in parts), whole.scores, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(_data, now), jax.tree.map(_data, last))


def _data(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_rows_end_at_the_end_token_and_scores_are_of_the_unfiltered_model():
    table, progress = table_progress(rows=16)
    made, now = decode(table_step(table), progress, count=10, sampling=Sampling(temperature=2.0), end=END, pad=5)
    ended = np.asarray(now.done)
    assert 0 < ended.sum() < 16 or ended.all()
    for row in range(16):
        length = int(made.lengths[row])
        tokens = made.tokens[row, :length].tolist()
        assert END not in tokens
        assert (np.asarray(made.tokens[row, length:]) == 5).all()
        drawn = tokens + [END] * (length < 10)
        chances = log_softmax(table_logits(np.asarray(table), drawn))[np.arange(len(drawn)), drawn]
        np.testing.assert_allclose(made.scores[row], chances.sum(), rtol=1e-4)
        np.testing.assert_allclose(made.chances[row, : len(drawn)], chances, rtol=1e-3, atol=1e-5)
        assert not np.asarray(made.chances[row, len(drawn) :]).any()
    np.testing.assert_array_equal(now.drawn, made.lengths)


def test_no_row_ends_before_the_least_number_of_tokens():
    table, progress = table_progress(rows=64)
    run = partial(decode, table_step(table), sampling=Sampling(), end=END)
    free, _ = run(progress, count=8)
    assert np.asarray(free.lengths).min() < 4
    part, now = run(progress, count=2, least=5)
    rest, _ = run(now, count=6, least=5)
    lengths = np.asarray(part.lengths + rest.lengths)
    assert lengths.min() == 5
    assert lengths.max() == 8


def test_stops_when_all_rows_have_ended():
    calls = []
    size = 4
    table = jnp.zeros((size, size, size)).at[:, :, 1].set(50.0).at[:, 1, END].set(100.0)

    def step(last, tokens):
        jax.debug.callback(lambda: calls.append(1))
        return table[last, tokens], tokens

    last = jnp.zeros(2, jnp.int32)
    progress = begin(table[last, last], last, jax.random.key(0), np.zeros((2, 1), np.int32), np.ones((2, 1)))
    made, _ = decode(step, progress, count=1000, end=END)
    jax.effects_barrier()
    assert made.lengths.tolist() == [1, 1]
    assert len(calls) == 2


def test_the_penalty_sees_the_prompt_without_its_padding():
    logits = jnp.ones((2, 5))
    progress = begin(logits, None, jax.random.key(0), np.array([[3, 0], [1, 4]]), np.array([[1, 0], [1, 1]]))
    np.testing.assert_array_equal(progress.seen, [[0, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


def test_compiles_once_for_all_prompts_of_a_shape():
    model, variables = tiny()
    traces = []

    @jax.jit
    def run(variables, tokens, mask, key):
        traces.append(1)
        return generate(model, variables, tokens, mask, key=key, count=4, sampling=Sampling(top_k=5))

    for seed in range(3):
        tokens = np.random.default_rng(seed).integers(0, 31, (2, 6)).astype(np.int32)
        mask = np.arange(6)[None] < np.array([[6], [seed + 1]])
        made = run(variables, tokens, mask.astype(np.int32), jax.random.key(seed))
        assert made.tokens.shape == (2, 4)
    assert len(traces) == 1
