import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding import beam_search, begin, decode, prefill, stepping
from tests.decoding.reference import END, exhaustive, log_softmax, logits_without_cache, table_step, tiny


def search(table, rows=1, **options):
    last = jnp.zeros(rows, jnp.int32)
    return beam_search(table_step(table), table[last, last], last, end=END, **options)


def random_table(seed, size=4, scale=1.0):
    return np.random.default_rng(seed).normal(size=(size, size, size), scale=scale).astype(np.float32)


def taken(made, row, beam):
    length = int(made.lengths[row, beam])
    return tuple(made.tokens[row, beam, :length].tolist())


@given(seed=st.integers(0, 1000), penalty=st.sampled_from((0.0, 0.6, 1.0, 2.0)))
@settings(max_examples=6, deadline=None)
def test_beams_that_hold_everything_find_the_best_of_all(seed, penalty):
    table = random_table(seed, size=20)[:3, :3, :3]
    # Logits for ids that never come, so that there may be as many beams as there are continuations.
    wide = np.full((20, 20, 20), -1e9, np.float32)
    wide[:3, :3, :3] = table
    made = search(jnp.asarray(wide), count=3, beams=19, length_penalty=penalty)
    expected = exhaustive(table, 3, penalty)
    assert len(expected) == 15
    np.testing.assert_allclose(made.scores[0, :15], [score for score, _ in expected], rtol=1e-4)
    assert {taken(made, 0, beam) for beam in range(15)} == {tokens for _, tokens in expected}


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy_decoding(seed):
    table = jnp.asarray(random_table(seed, size=6))
    last = jnp.zeros(1, jnp.int32)
    progress = begin(table[last, last], last, jax.random.key(0), np.zeros((1, 1), np.int32), np.ones((1, 1)))
    greedy, _ = decode(table_step(table), progress, count=7, end=END)
    made = search(table, count=7, beams=1)
    np.testing.assert_array_equal(made.tokens[0, 0], greedy.tokens[0])
    np.testing.assert_allclose(made.scores[0, 0], greedy.scores[0], rtol=1e-5)


@pytest.mark.parametrize(("penalty", "best"), [(0.0, ()), (0.9, ()), (0.95, (1,)), (2.0, (1,))])
def test_the_length_penalty_by_hand(penalty, best):
    # The end at once has log-probability ln 0.5 = -0.6931; 1 and then the end ln 0.5 + ln 0.9 = -0.7985, divided by
    # (7 / 6) ** a: it wins where (7 / 6) ** a > 0.7985 / 0.6931 = 1.1520, so from a = ln 1.152 / ln (7 / 6) = 0.918 on.
    table = np.full((4, 4, 4), -1e9, np.float32)
    table[0, 0, [1, END]] = np.log([0.5, 0.5])
    table[0, 1, [3, END]] = np.log([0.1, 0.9])
    table[:, 3, END] = 0.0
    made = search(jnp.asarray(table), count=4, beams=3, length_penalty=penalty)
    scores = {(): np.log(0.5), (1,): np.log(0.45) / (7 / 6) ** penalty, (1, 3): np.log(0.05) / (8 / 6) ** penalty}
    assert taken(made, 0, 0) == best
    for beam in range(3):
        np.testing.assert_allclose(made.scores[0, beam], scores[taken(made, 0, beam)], rtol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_rows_are_searched_alone(penalty):
    tables = [random_table(seed, size=7, scale=2.0) for seed in range(3)]
    stacked = jnp.asarray(np.stack(tables))

    def step(state, tokens):
        row, last = state
        return stacked[row, last, tokens], (row, tokens)

    row, last = jnp.arange(3), jnp.zeros(3, jnp.int32)
    made = beam_search(step, stacked[row, last, last], (row, last), count=9, beams=3, end=END, length_penalty=penalty)
    for number, table in enumerate(tables):
        alone = search(jnp.asarray(table), count=9, beams=3, length_penalty=penalty)
        np.testing.assert_array_equal(made.tokens[number], alone.tokens[0])
        np.testing.assert_allclose(made.scores[number], alone.scores[0], rtol=1e-5)
    assert (np.diff(np.asarray(made.scores), axis=1) <= 0).all()


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_row_s_own_limit_is_as_a_count(penalty):
    tables = [random_table(seed, size=7) for seed in range(5)]
    stacked, limits = jnp.asarray(np.stack(tables)), np.asarray([9, 3, 1, 2, 12])

    def step(state, tokens):
        row, last = state
        return stacked[row, last, tokens], (row, tokens)

    row, last = jnp.arange(5), jnp.zeros(5, jnp.int32)
    options = {"beams": 3, "end": END, "length_penalty": penalty}
    made = beam_search(step, stacked[row, last, last], (row, last), count=9, limit=limits, **options)
    for number, (table, limit) in enumerate(zip(tables, limits)):
        alone = search(jnp.asarray(table), count=min(int(limit), 9), beams=3, length_penalty=penalty)
        np.testing.assert_allclose(made.scores[number], alone.scores[0], rtol=1e-5)
        np.testing.assert_array_equal(made.lengths[number, :1], alone.lengths[0, :1])
        assert [taken(made, number, 0)] == [taken(alone, 0, 0)]


def test_stops_when_nothing_running_can_win():
    calls = []
    table = jnp.full((5, 5, 5), 0.0).at[:, :, END].set(30.0)

    def step(last, tokens):
        jax.debug.callback(lambda: calls.append(1))
        return table[last, tokens], tokens

    last = jnp.zeros(1, jnp.int32)
    made = beam_search(step, table[last, last], last, count=200, beams=2, end=END)
    jax.effects_barrier()
    assert taken(made, 0, 0) == ()
    assert len(calls) < 10


def test_refuses_what_is_out_of_range():
    table = jnp.zeros((4, 4, 4))
    for beams in (0, 4):
        with pytest.raises(ValueError, match="beams must be at least 1 and fewer than the vocabulary's 4"):
            search(table, count=2, beams=beams)
    with pytest.raises(ValueError, match="length_penalty must be at least 0"):
        search(table, count=2, beams=2, length_penalty=-1.0)


def test_caches_follow_their_beams():
    """The score of every beam is that of its tokens under the model without a cache."""
    model, variables = tiny()
    prompt = np.array([[3, 1, 4, 0], [9, 2, 6, 5]], np.int32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    logits, cache = prefill(model, variables, prompt, mask, 8)
    made = beam_search(stepping(model, variables), logits, cache, count=8, beams=4, end=7)
    for row in range(2):
        start = prompt[row, : mask[row].sum()].tolist()
        for beam in range(4):
            drawn = list(taken(made, row, beam))
            drawn += [7] * (len(drawn) < 8)
            whole = log_softmax(logits_without_cache(model, variables, start + drawn))
            chances = [float(whole[len(start) + place - 1, token]) for place, token in enumerate(drawn)]
            np.testing.assert_allclose(made.scores[row, beam], sum(chances), rtol=1e-4, atol=1e-4)
