import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.nn import attention_mask, both, segment_attention_mask, token_attention_mask


def seen(queries, keys, causal, window):
    mask = np.zeros((len(queries), len(keys)), bool)
    for t, query in enumerate(queries):
        for s, key in enumerate(keys):
            behind = query - key
            mask[t, s] = not (causal and behind < 0) and (window is None or abs(behind) < window)
    return mask


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 9),
    keys=st.integers(1, 9),
    start=st.integers(0, 6),
    causal=st.booleans(),
    window=st.none() | st.integers(1, 10),
)
def test_equals_a_double_loop_over_positions(count, keys, start, causal, window):
    queries_BT = np.stack((start + np.arange(count), np.arange(count)))
    keys_BS = np.arange(keys)[None]
    found = attention_mask(jnp.asarray(queries_BT), jnp.asarray(keys_BS), causal=causal, window=window)
    assert found.shape == (2, 1, count, keys)
    for row in range(2):
        np.testing.assert_array_equal(found[row, 0], seen(queries_BT[row], keys_BS[0], causal, window))


def test_another_mask_must_allow_it_too():
    places = jnp.arange(3)[None]
    token_mask = jnp.array([[1, 1, 0], [0, 1, 1]])
    mask = attention_mask(places, places, causal=True, also=token_attention_mask(token_mask))
    expected = np.tril(np.ones((3, 3), bool))[None] & (np.asarray(token_mask) != 0)[:, None]
    np.testing.assert_array_equal(mask[:, 0], expected)


def test_token_mask_counts_whatever_is_not_zero():
    mask = token_attention_mask(jnp.array([[1.0, 0.0, 0.5]]))
    assert mask.shape == (1, 1, 1, 3)
    assert mask.ravel().tolist() == [True, False, True]


def test_segments_see_themselves_only():
    segments = np.array([[1, 1, 2, 2, 0], [3, 3, 3, 3, 3]])
    mask = segment_attention_mask(jnp.asarray(segments))
    for row in range(2):
        for t in range(5):
            for s in range(5):
                assert bool(mask[row, 0, t, s]) == (segments[row, t] == segments[row, s])


def test_nothing_to_hide_stays_none():
    mask = jnp.array([True, False])
    assert token_attention_mask(None) is None
    assert segment_attention_mask(None) is None
    assert both(None, None) is None
    assert both(mask, None) is mask
    assert both(None, mask) is mask
    assert both(mask, ~mask).tolist() == [False, False]


@pytest.mark.parametrize("window", [0, -2])
def test_window_without_keys_is_refused(window):
    places = jnp.arange(3)[None]
    with pytest.raises(ValueError, match=f"window >= 1, not {window}"):
        attention_mask(places, places, window=window)
