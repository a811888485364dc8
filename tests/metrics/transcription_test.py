import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.metrics import transcription

WORDS = st.lists(st.sampled_from(["a", "the", "seven", "Seven", "zero", "it's", "o"]), max_size=8).map(" ".join)
SAID = WORDS.filter(bool)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(WORDS, SAID), min_size=1, max_size=5))
def test_the_rates_are_those_of_jiwer(pairs):
    heard, said = (list(side) for side in zip(*pairs))
    found = transcription.values(transcription.statistics(heard, said, normalizer="none").sum(axis=0))
    assert found["wer"] == pytest.approx(100 * jiwer.wer(said, heard))
    assert found["cer"] == pytest.approx(100 * jiwer.cer(said, heard))


@settings(max_examples=50, deadline=None)
@given(*[st.text("abc", max_size=7)] * 3)
def test_the_distance_is_one(a, b, c):
    distance = transcription.edit_distance
    assert distance(a, b) == distance(b, a) == distance(a[::-1], b[::-1])
    assert (distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("don’t 'quote' me", "don't quote me"),
        ("well-known U.S. facts", "well known u s facts"),
        ("a_b\tc\n", "a b c"),
        ("Straße ÉTÉ", "straße été"),
        ("हिन्दी", "हिन्दी"),  # Vowel signs are marks.
        ("ﬁve", "five"),
        ("...", ""),
    ],
)
def test_words_are_compared_as_stated(text, expected):
    assert transcription.normalized(text) == expected
    assert transcription.normalized(expected) == expected


def test_errors_and_lengths_are_counted_by_text():
    found = transcription.statistics(["one too three", ""], ["One, two!", "four"])
    np.testing.assert_array_equal(found, [[2, 2, 7, 7], [1, 1, 4, 4]])
    assert transcription.values(found.sum(axis=0)) == {"wer": 100.0, "cer": 100.0}
    strict = transcription.statistics(["one"], ["One"], normalizer="none")
    np.testing.assert_array_equal(strict, [[1, 1, 1, 3]])


def test_nothing_said_has_no_rate():
    assert all(np.isnan(value) for value in transcription.values(np.zeros(4)).values())


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="1 hypotheses"):
        transcription.statistics(["a"], [])
    with pytest.raises(ValueError, match="normalizer must be"):
        transcription.normalized("a", "letters")


def test_every_result_has_its_definition():
    for normalizer in ("words", "none"):
        assert set(transcription.signatures(normalizer)) == set(transcription.NAMES)
