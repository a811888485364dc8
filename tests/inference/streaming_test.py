import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.text import characters, train_tokenizer, utf8_bytes
from jaxdl.inference.streaming import Row, settled

TEXTS = ["Grüße aus Köln – 日本語 🙂🙃 naïve", "the end of the song", "🙂" * 5, "a\u00e9" * 6]
TOKENIZERS = {
    "byte": utf8_bytes(),
    "bpe": train_tokenizer(TEXTS, kind="bpe", vocabulary_size=290),
    "character": characters(TEXTS),
}


def first_whole(text, stops):
    """The text up to the stop string that a reader of one character at a time finds first."""
    for length in range(len(text) + 1):
        ends = [stop for stop in stops if text[:length].endswith(stop)]
        if ends:
            return text[: length - max(map(len, ends))]
    return text


def split(ids, cuts):
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [ids[a:b] for a, b in itertools.pairwise(edges)]


@given(
    kind=st.sampled_from(sorted(TOKENIZERS)),
    text=st.sampled_from(TEXTS),
    cuts=st.lists(st.integers(0, 100), max_size=8),
    stops=st.lists(st.sampled_from(["🙂🙃", "é", "the ", "ü", "song", "n", "–", "aé"]), max_size=2, unique=True),
)
@settings(max_examples=150, deadline=None)
def test_pieces_are_whole_and_together_the_text_up_to_its_stop(kind, text, cuts, stops):
    tokenizer = TOKENIZERS[kind]
    row, pieces = Row(tokenizer, tokenizer.encode("a "), tuple(stops)), []
    for ids in split(tokenizer.encode(text), cuts):
        pieces.append(row.add(ids, final=False))
    pieces.append(row.add([], final=True))
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == row.text == first_whole(text, stops)
    assert row.stopped == any(stop in text for stop in stops)


@given(
    text=st.text(alphabet="abc", max_size=12),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=3), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_what_is_settled_stays(text, stops):
    before = ""
    for length in range(len(text) + 1):
        sure, stopped = settled(text[:length], stops)
        assert sure.startswith(before)
        if stopped:
            assert sure == first_whole(text, stops)
            return
        before = sure
    assert settled(text, stops, final=True) == (text, False)


def test_a_character_that_stays_broken_is_left_out():
    tokenizer = TOKENIZERS["byte"]
    ids = tokenizer.encode("é🙂")
    row = Row(tokenizer, tokenizer.encode("x"), ())
    assert row.add(ids[:1], final=False) == ""
    assert row.add(ids[1:4], final=False) == "é"
    assert row.add([], final=True) == ""
    # A byte that belongs to no character does not hold back what follows.
    row = Row(tokenizer, tokenizer.encode("x"), ())
    assert row.add([ids[2], *tokenizer.encode("ab")], final=False) == "\ufffdab"


@pytest.mark.parametrize("size", [1, 2, 7])
def test_tokens_and_score_end_with_the_stop_string(size):
    tokenizer = TOKENIZERS["character"]
    ids = tokenizer.encode("the end of the song")
    row = Row(tokenizer, tokenizer.encode("a"), ("end",))
    for start in range(0, len(ids), size):
        row.chances += [-1.0] * len(ids[start : start + size])
        row.add(ids[start : start + size], final=False)
    assert row.generated() == ("the ", 7, "stop", -7.0)


def test_a_tokenizer_that_writes_a_first_word_differently():
    tokenizer = train_tokenizer(["one two three two one"] * 3, kind="unigram", vocabulary_size=30)
    prompt, whole = tokenizer.encode("one"), tokenizer.encode("one two")
    row = Row(tokenizer, prompt, ())
    np.testing.assert_array_equal(whole[: len(prompt)], prompt)
    assert row.add(whole[len(prompt) :], final=True) == " two"
