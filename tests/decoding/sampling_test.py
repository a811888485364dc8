import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding import GREEDY, Sampling


def logits_of(seed, rows=3, size=23, scale=3.0):
    return np.random.default_rng(seed).normal(size=(rows, size), scale=scale).astype(np.float32)


@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from((0.3, 1.0, 1.7)),
    top_k=st.sampled_from((None, 1, 5, 22, 23, 40)),
    top_p=st.sampled_from((1.0, 0.05, 0.5, 0.93)),
    min_p=st.sampled_from((0.0, 0.02, 0.3, 1.0)),
    penalty=st.sampled_from((1.0, 1.3, 0.7)),
)
@settings(max_examples=15, deadline=None)
def test_filters_equal_the_processors_of_transformers_in_that_order(seed, temperature, top_k, top_p, min_p, penalty):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    logits = logits_of(seed)
    prompt = np.random.default_rng(seed + 1).integers(0, logits.shape[1], (3, 6))
    chain = [transformers.RepetitionPenaltyLogitsProcessor(penalty), transformers.TemperatureLogitsWarper(temperature)]
    chain += [] if top_k is None else [transformers.TopKLogitsWarper(top_k)]
    chain += [transformers.TopPLogitsWarper(top_p), transformers.MinPLogitsWarper(min_p)]
    theirs = torch.tensor(logits)
    for processor in chain:
        theirs = processor(torch.tensor(prompt), theirs)
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, prompt, True, axis=1)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    np.testing.assert_allclose(sampling.filter(logits, seen), theirs.numpy(), rtol=1e-5)


def test_equal_logits_stay_together():
    logits = jnp.array([[1.0, 1.0, 1.0, 0.0]])
    for sampling in (Sampling(top_k=1), Sampling(top_p=0.1), Sampling(min_p=1.0)):
        np.testing.assert_array_equal(np.isfinite(sampling.filter(logits)), [[True, True, True, False]])


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.5), Sampling(top_k=3), Sampling(top_p=0.7, min_p=0.1)])
def test_draws_come_as_often_as_they_are_likely(sampling):
    logits, count = logits_of(3, rows=1, size=6, scale=1.0), 20_000
    expected = np.asarray(jax.nn.softmax(sampling.filter(logits)))[0]
    drawn = sampling.draw(jax.random.split(jax.random.key(0), count), jnp.repeat(logits, count, axis=0))
    found = np.bincount(np.asarray(drawn), minlength=6) / count
    assert (found[expected == 0] == 0).all()
    # Five standard deviations of a share.
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_one_key_draws_rows_that_differ_and_row_keys_draw_rows_alone():
    logits = jnp.zeros((64, 50))
    assert len(set(np.asarray(Sampling().draw(jax.random.key(0), logits)).tolist())) > 10
    keys = jax.random.split(jax.random.key(0), 64)
    whole = Sampling().draw(keys, logits)
    np.testing.assert_array_equal(Sampling().draw(keys[5:7], logits[5:7]), whole[5:7])


def test_greedy_takes_the_likeliest_and_reads_no_other_filter():
    logits = logits_of(0)
    expected = logits.argmax(axis=-1)
    for sampling in (GREEDY, Sampling(temperature=0, top_k=1, top_p=0.1, min_p=0.9)):
        np.testing.assert_array_equal(sampling.draw(jax.random.key(0), logits), expected)
    # But it is penalised.
    seen = np.arange(23) == expected[:, None]
    other = Sampling(temperature=0, repetition_penalty=100.0).draw(jax.random.key(0), np.abs(logits), seen)
    assert (np.asarray(other) != np.abs(logits).argmax(axis=-1)).any()


def test_half_precision_logits_are_filtered_in_float32():
    logits = jnp.asarray(logits_of(1), jnp.bfloat16)
    found = Sampling(temperature=0.7, top_p=0.9).filter(logits)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, Sampling(temperature=0.7, top_p=0.9).filter(logits.astype(jnp.float32)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0, or at least 0.0001"),
        ({"temperature": math.nan}, "temperature must be 0"),
        ({"temperature": 1e-45}, "temperature must be 0"),
        ({"repetition_penalty": math.nan}, "repetition_penalty must be positive"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"min_p": 1.1}, r"min_p in \[0, 1\]"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be positive"),
    ],
)
def test_refuses_what_is_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)
