"""Word and character error rates. They are quotients of sums over texts, so that the sums add over batches."""

import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np

Normalizer = Literal["words", "none"]
NAMES = ("wer", "cer")
"""The results of `values`, in percent."""


def normalized(text: str, normalizer: Normalizer = "words") -> str:
    """The text as it is compared, with single spaces.

    "words" makes it NFKC and lower case, its apostrophes straight, and all else but letters, numbers, marks and
    apostrophes inside words a space. "none" changes nothing but the spaces.

    >>> normalized("It’s  2 o'clock, DON'T!")
    "it's 2 o'clock don't"
    """
    if normalizer not in ("words", "none"):
        raise ValueError(f"normalizer must be 'words' or 'none', not {normalizer!r}.")
    if normalizer == "words":
        text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
        text = "".join(one if one == "'" or unicodedata.category(one)[0] in "LMN" else " " for one in text)
        text = " ".join(word.strip("'") for word in text.split())
    return " ".join(text.split())


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The least insertions, deletions and substitutions that make one of the other (Levenshtein 1966).

    >>> edit_distance("sitting", "kitten"), edit_distance(["a", "b"], [])
    (3, 2)
    """
    number = {one: index for index, one in enumerate({*a, *b})}
    columns = np.asarray([number[one] for one in b], np.int64)
    steps = np.arange(len(b) + 1)
    row = steps
    for index, one in enumerate(a, 1):
        without = np.minimum(row[1:] + 1, row[:-1] + (columns != number[one]))
        # What insertions alone make of it is a running minimum.
        row = np.minimum.accumulate(np.concatenate([[index], without]) - steps) + steps
    return int(row[-1])


def statistics(hypotheses: Sequence[str], references: Sequence[str], *, normalizer: Normalizer = "words") -> np.ndarray:
    """The errors and the length of each text, in words and in characters: what is summed over texts, (N, 4) float64.

    Characters count the spaces between words.

    Raises:
      ValueError: there are not as many of the one as of the other.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses cannot be compared with {len(references)} references.")
    rows = np.zeros((len(hypotheses), 4))
    for row, hypothesis, reference in zip(rows, hypotheses, references):
        heard, said = normalized(hypothesis, normalizer), normalized(reference, normalizer)
        row[:2] = edit_distance(heard.split(), said.split()), len(said.split())
        row[2:] = edit_distance(heard, said), len(said)
    return rows


def values(sums: np.ndarray) -> dict[str, float]:
    """The error rates of the sum (4,) of `statistics`, in percent of the references; NaN where those are empty.

    >>> values(statistics(["one too"], ["one two three"]).sum(axis=0))["wer"]
    66.66666666666667
    """
    words, of_words, characters, of_characters = (float(one) for one in sums)
    nan = float("nan")
    return {
        "wer": 100 * words / of_words if of_words else nan,
        "cer": 100 * characters / of_characters if of_characters else nan,
    }


def signatures(normalizer: Normalizer = "words") -> dict[str, str]:
    """What an error rate means to the last detail, to be given with it."""
    rules = {"words": "NFKC, lower case, only letters, numbers, marks and apostrophes in words", "none": "as it is"}[
        normalizer
    ]
    return {
        name: f"100 * (substitutions + deletions + insertions) / {unit} of the references; text: {rules}"
        for name, unit in (("wer", "words"), ("cer", "characters (spaces included)"))
    }
