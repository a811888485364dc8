"""BLEU and chrF of a corpus. They do not add over batches, but the counts that they are made of add over sentences."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxdl.errors import ConfigError

BleuTokenizer = Literal["13a", "intl", "char", "zh", "none"]
_ORDER = 4
_BLEU_COUNTS = 2 + 2 * _ORDER


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationScores:
    """Corpus BLEU (Papineni et al. 2002) and chrF (Popović 2015), as sacreBLEU (Post 2018) defines them.

    Hypotheses and references are plain, detokenized text. Both scores run from 0 to 100.

    Attributes:
      bleu_tokenizer: How BLEU cuts text into words: "13a" is the standard; "zh" and "char" are for languages written
        without spaces.
      lowercase: Whether case does not count.

    >>> round(TranslationScores().compute(["the cat is on the mat"], ["the cat is on the mat"])["bleu"], 2)
    100.0

    Raises:
      ConfigError: sacreBLEU is not installed.
    """

    bleu_tokenizer: BleuTokenizer = "13a"
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.bleu_tokenizer not in ("13a", "intl", "char", "zh", "none"):
            raise ValueError(f"bleu_tokenizer must be '13a', 'intl', 'char', 'zh' or 'none': {self.bleu_tokenizer!r}.")
        assert self._metrics is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The scores."""
        return ("bleu", "chrf")

    @functools.cached_property
    def _metrics(self) -> Mapping[str, Any]:
        try:
            from sacrebleu.metrics import BLEU, CHRF
        except ImportError as error:
            raise ConfigError("BLEU and chrF need sacreBLEU: pip install 'jaxdl[text]'.") from error
        # `force` leaves out its warning about text that looks tokenized, which would be printed at every evaluation.
        bleu = BLEU(tokenize=self.bleu_tokenizer, lowercase=self.lowercase, max_ngram_order=_ORDER, force=True)
        return {"bleu": bleu, "chrf": CHRF(lowercase=self.lowercase)}

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """The counts of each sentence (N, K) float64, whose sums over sentences `values` reads.

        Raises:
          ValueError: there are not as many references as hypotheses.
        """
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} hypotheses cannot be compared with {len(references)} references.")
        parts = [
            np.asarray(metric._extract_corpus_statistics(list(hypotheses), [list(references)]), np.float64)
            for metric in self._metrics.values()
        ]
        return np.concatenate(parts, axis=1)

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The scores of summed counts (K,)."""
        counts = {"bleu": sums[:_BLEU_COUNTS], "chrf": sums[_BLEU_COUNTS:]}
        # BLEU's counts are whole; it formats them as such.
        return {
            name: float(metric._compute_score_from_stats([int(x) for x in counts[name]]).score)
            for name, metric in self._metrics.items()
        }

    def compute(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """The scores of a corpus.

        Raises:
          ValueError: there is none, or there are not as many references as hypotheses.
        """
        if not hypotheses:
            raise ValueError("There are no hypotheses to score.")
        return self.values(self.statistics(hypotheses, references).sum(axis=0))

    @property
    def signatures(self) -> dict[str, str]:
        """What a score means to the last detail, to be given with it."""
        self.statistics([""], [""])  # A signature knows the number of references only once there are some.
        return {name: str(metric.get_signature()) for name, metric in self._metrics.items()}
