"""Exact match and F1 of answers, by the rules of SQuAD (Rajpurkar et al. 2016; 2.0: Rajpurkar et al. 2018)."""

import collections
import re
import string
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

NAMES = ("exact_match", "f1", "exact_match_answerable", "f1_answerable", "exact_match_unanswerable")
"""The results of `values`: in percent, over all questions and over those with and without an answer."""


def normalized(text: str) -> str:
    """The text in lower case, without ASCII punctuation and English articles, with single spaces.

    >>> normalized("The  U.S.A., an area")
    'usa area'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is one of the answers but for `normalized`, else 0.0; no answers want an empty prediction.

    >>> exact_match("the Cat", ["cat!", "dog"])
    1.0
    """
    return max(float(normalized(prediction) == normalized(answer)) for answer in _wanted(answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the words, with the answer that fits best.

    Where the prediction or an answer has no word, it is 1.0 if neither has, else 0.0, as in SQuAD 2.0.

    >>> round(f1("a black cat", ["the cat"]), 3)
    0.667
    """
    return max(_f1(normalized(prediction).split(), normalized(answer).split()) for answer in _wanted(answers))


def statistics(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """What is summed over questions, (N, 6) float64; `values` reads results out of the sum.

    Args:
      predictions: "" where there is said to be no answer.
      answers: The right ones of each question; none where it has no answer.

    Raises:
      ValueError: there are not as many of the one as of the other.
    """
    rows = np.zeros((len(predictions), 6))
    for row, prediction, right in zip(rows, predictions, answers, strict=True):
        first = 0 if right else 3
        row[first : first + 3] = 1, exact_match(prediction, right), f1(prediction, right)
    return rows


def values(sums: np.ndarray) -> dict[str, float]:
    """The results, in percent, of the sum (6,) of `statistics`; NaN of no question."""
    can, exact, overlap, cannot, exact_none, overlap_none = (float(x) for x in sums)
    return {
        "exact_match": _percent(exact + exact_none, can + cannot),
        "f1": _percent(overlap + overlap_none, can + cannot),
        "exact_match_answerable": _percent(exact, can),
        "f1_answerable": _percent(overlap, can),
        "exact_match_unanswerable": _percent(exact_none, cannot),
    }


def _wanted(answers: Sequence[str]) -> list[str]:
    """The answers that have a word, or "" where there is none."""
    return [answer for answer in answers if normalized(answer)] or [""]


def _f1(prediction: list[str], answer: list[str]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    same = sum((collections.Counter(prediction) & collections.Counter(answer)).values())
    return 2 * same / (len(prediction) + len(answer))


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")
