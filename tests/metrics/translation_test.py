import sys

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import ConfigError
from jaxdl.metrics.translation import TranslationScores

WORDS = st.lists(st.sampled_from(["a", "cat", "Größe", "猫", "é", "e\u0301", "👩‍🔬", ".", "-", "\u202e"]), max_size=8)


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_sums_of_counts_give_what_sacrebleu_gives(pairs):
    hypotheses, references = ([" ".join(words) for words in side] for side in zip(*pairs))
    found = TranslationScores().compute(hypotheses, references)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references], force=True).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)


def test_a_known_score():
    # Unigrams 5/6, bigrams 3/5, trigrams 1/4 and fourgrams 0/3, which is smoothed to 1/(2 * 3).
    found = TranslationScores().compute(["the cat sat on the mat"], ["the cat is on the mat"])
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert found["bleu"] == pytest.approx(expected)


def test_empty_hypotheses_count_as_nothing():
    scores = TranslationScores()
    assert scores.compute(["", ""], ["a house", "the cat"]) == {"bleu": 0.0, "chrf": 0.0}
    part = scores.compute(["a house stands by the sea", ""], ["a house stands by the sea", "the cat is on the mat"])
    assert 0 < part["bleu"] < 100
    assert 0 < part["chrf"] < 100


def test_the_same_sign_in_two_codes_is_not_the_same_text():
    assert TranslationScores().compute(["e\u0301te"], ["\u00e9te"])["chrf"] < 100


def test_options_count():
    pair = ["Das IST gut so"], ["das ist gut so"]
    assert TranslationScores(lowercase=True).compute(*pair) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert TranslationScores().compute(*pair)["bleu"] < 50
    chinese = ["我喜歡貓和狗"], ["我喜歡貓和鳥"]
    assert TranslationScores(bleu_tokenizer="zh").compute(*chinese)["bleu"] > 30
    assert TranslationScores().compute(*chinese)["bleu"] == 0


def test_signatures_say_what_was_computed():
    signatures = TranslationScores(lowercase=True).signatures
    assert signatures["bleu"].startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:")
    assert signatures["chrf"].startswith("nrefs:1|case:lc|eff:yes|nc:6|nw:0|")


def test_what_makes_no_sense_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="bleu_tokenizer"):
        TranslationScores(bleu_tokenizer="spaces")
    with pytest.raises(ValueError, match="2 hypotheses cannot be compared with 1"):
        TranslationScores().statistics(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="no hypotheses"):
        TranslationScores().compute([], [])
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ConfigError, match=r"jaxdl\[text\]"):
        TranslationScores()


def test_counts_are_one_row_a_sentence():
    scores = TranslationScores()
    rows = scores.statistics(["a b", "", "c"], ["a b", "x", "d"])
    assert rows.shape[0] == 3
    np.testing.assert_array_equal(rows[1:2], scores.statistics([""], ["x"]))
