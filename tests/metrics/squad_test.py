"""The rules of SQuAD: cases worked out by hand from the published definitions, and another implementation if there."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.metrics import squad

WORDS = st.lists(st.sampled_from(["the", "a", "Cat", "cat,", "dog", "U.S.", "an", "x-y", "1999", "—"]), max_size=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat", "cat"),
        ("  a\tb \n", "b"),
        ("Theatre and another", "theatre and another"),
        ("U.S.A.", "usa"),
        ("the-end", "theend"),  # Punctuation goes first, so that no article is left.
        ("don't", "dont"),
        ("“the” cat", "“ ” cat"),  # Only ASCII punctuation counts.
        ("a_b", "ab"),
        ("$1,000.50", "100050"),
        ("The THE the", ""),
        ("...", ""),
        ("Ünïcode  Straße", "ünïcode straße"),
    ],
)
def test_texts_are_normalized(text, expected):
    assert squad.normalized(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("the cat", ["Cat."], 1, 1),
        ("black cat", ["cat"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),  # A word counts as often as in both.
        ("cat cat dog", ["cat cat"], 0, 4 / 5),
        ("dog", ["cat", "a dog!"], 1, 1),
        ("big black dog", ["dog", "big dog"], 0, 4 / 5),
        ("bird", ["cat"], 0, 0),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("the", [], 1, 1),  # Nothing is left of an article.
        ("", ["cat"], 0, 0),
        ("cat", ["the", "cat"], 1, 1),  # Answers of which nothing is left do not count beside others.
        ("", ["the", "cat"], 0, 0),
        ("a", ["the"], 1, 1),
        ("1 000", ["1,000"], 0, 0),
    ],
)
def test_scores_by_hand(prediction, answers, exact, overlap):
    assert squad.exact_match(prediction, answers) == exact
    assert squad.f1(prediction, answers) == pytest.approx(overlap)


@settings(max_examples=50, deadline=None)
@given(WORDS, WORDS)
def test_f1_is_symmetric_bounded_and_one_where_words_match(left, right):
    left, right = " ".join(left), " ".join(right)
    value = squad.f1(left, [right])
    assert value == pytest.approx(squad.f1(right, [left]))
    assert 0 <= value <= 1
    assert squad.exact_match(left, [right]) <= value
    words = [sorted(squad.normalized(text).split()) for text in (left, right)]
    assert (value == 1) == (words[0] == words[1])


def test_statistics_add_up_to_the_results():
    predictions = ["the cat", "dog", "", "x"]
    answers = [["cat"], ["big dog"], [], []]
    rows = squad.statistics(predictions, answers)
    found = squad.values(rows.sum(axis=0))
    assert tuple(found) == squad.NAMES
    assert found["exact_match"] == 50
    assert found["f1"] == pytest.approx(100 * (1 + 2 / 3 + 1 + 0) / 4)
    assert (found["exact_match_answerable"], found["exact_match_unanswerable"]) == (50, 50)
    assert found["f1_answerable"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert np.isnan(squad.values(rows[:2].sum(axis=0))["exact_match_unanswerable"])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        squad.statistics(["a"], [])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_equals_torchmetrics_where_words_remain(pairs):
    text = pytest.importorskip("torchmetrics.functional.text")

    def full(words):
        return " ".join([*words, "end"])  # Version 1.1 says nothing else of empty answers.

    predictions = [full(words) for words, _ in pairs]
    answers = [[full(words) for words in right] for _, right in pairs]
    theirs = text.squad(
        [{"prediction_text": one, "id": str(i)} for i, one in enumerate(predictions)],
        [{"answers": {"answer_start": [0] * len(a), "text": a}, "id": str(i)} for i, a in enumerate(answers)],
    )
    ours = squad.values(squad.statistics(predictions, answers).sum(axis=0))
    np.testing.assert_allclose(ours["exact_match"], float(theirs["exact_match"]), rtol=1e-5)
    np.testing.assert_allclose(ours["f1"], float(theirs["f1"]), rtol=1e-5)


def test_punctuation_is_ascii():
    assert squad.normalized(string.punctuation) == ""
