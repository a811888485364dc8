"""Answers as spans of a context. Letters: B batch, T tokens."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.squad import Questions
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.data.text.windows import AnswerWindows, Span
from jaxdl.errors import DataError
from jaxdl.losses import cross_entropy
from jaxdl.metrics import squad
from jaxdl.metrics.mean import Mean
from jaxdl.tasks.translation import texts_of
from jaxdl.types import Batch, Metric

_NOWHERE = -1e30


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswering:
    """Rows of `jaxdl.data.text.AnswerWindows` for a model such as `SpanExtractor`.

    The loss is the mean of the cross-entropies of the first and the last token of the answer; a row that does not
    hold the answer has both at place 0 (Devlin et al. 2019, section 4.3).

    Attributes:
      token_types: Whether the model is told which tokens are the question's and which the context's.
    """

    token_types: bool = True

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`tokens`, `token_mask` and where asked `token_types`, all (B, T)."""
        names = ("tokens", "token_mask", *(("token_types",) if self.token_types else ()))
        return {name: jnp.asarray(batch[name]) for name in names}

    def score(self, outputs: Mapping[str, jax.Array], batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits "start" and "end" (B, T), and "span_accuracy", how often both places are right."""
        loss_B = sum(cross_entropy(outputs[name], jnp.asarray(batch[name])) for name in ("start", "end")) / 2
        hit = [jnp.argmax(outputs[name], axis=-1) == jnp.asarray(batch[name]) for name in ("start", "end")]
        return Mean.of(loss_B, batch["mask"]), {"span_accuracy": Mean.of(hit[0] & hit[1], batch["mask"])}

    def measure(self, outputs: Mapping[str, jax.Array], batch: Batch) -> dict[str, Metric]:
        """By row, not by question, "span_accuracy" and "nll"; `AnswerReport` gives EM and F1."""
        nll, metrics = self.score(outputs, batch)
        return metrics | {"nll": nll}

    def decode(self, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The log-probabilities "start" and "end" (B, T) float32 of each place; see `best_answers`."""
        return {name: jax.nn.log_softmax(outputs[name].astype(jnp.float32)) for name in ("start", "end")}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row whose answer ends before it begins, or lies outside of the row.

        Raises:
          DataError: a key is missing.
        """
        for name in ("tokens", "token_mask", "token_types", "start", "end"):
            if name not in batch:
                raise DataError(f"Question answering needs {name!r}; there is {', '.join(batch)}.")
        start, end = np.asarray(batch["start"]), np.asarray(batch["end"])
        length = np.asarray(batch["token_mask"]).sum(axis=1)
        bad = (start < 0) | (end < start) | ((end > 0) & (end >= length))
        return [(int(row), f"the answer spans the places {start[row]} to {end[row]}") for row in np.flatnonzero(bad)]


class Found(NamedTuple):
    """An answer.

    Attributes:
      text: Of the answer, "" for none.
      span: Where it is in the context.
      score: Log-probability of the best span in its window, that is of its first and of its last token.
      null_score: Of there being none: the least over the windows.
    """

    text: str
    span: Span
    score: float
    null_score: float


def best_answers(
    windows: AnswerWindows,
    rows: Iterable[tuple[int, np.ndarray, np.ndarray]],
    *,
    max_answer: int = 30,
    no_answer: bool = True,
    threshold: float = 0.0,
) -> dict[int, Found]:
    """The best answer over the windows of each question, by its number.

    Args:
      windows: The source of the rows.
      rows: `(window, start, end)`, the number of a row and what `QuestionAnswering.decode` gives of it (T,).
      max_answer: The longest answer, in tokens.
      no_answer: Whether there may be none.
      threshold: How much likelier none must be than the best answer to be taken.
    """
    found: dict[int, Found] = {}
    for window, start_T, end_T in rows:
        number, context = int(windows.question_of[window]), windows.question(window).context
        first, last, score = best_span(start_T, end_T, windows.context_tokens(window), max_answer)
        null = float(start_T[0] + end_T[0])
        span = windows.span(window, first, last) if score > _NOWHERE else Span(0, 0)
        here = Found(context[span.begin : span.end], span, score, null)
        if number in found:
            best = max(found[number], here, key=lambda one: one.score)
            here = best._replace(null_score=min(found[number].null_score, null))
        found[number] = here
    if not no_answer:
        return found
    none = {number for number, one in found.items() if one.null_score > one.score + threshold}
    return {number: one._replace(text="", span=Span(0, 0)) if number in none else one for number, one in found.items()}


def best_span(
    start_T: np.ndarray, end_T: np.ndarray, context: tuple[int, int], max_answer: int
) -> tuple[int, int, float]:
    """The places of the likeliest span of at most `max_answer` tokens within `context`, and its score.

    >>> best_span(np.array([9.0, 0, 3, 1]), np.array([9.0, 5, 0, 1]), (1, 4), 30)
    (1, 1, 5.0)
    """
    left, right = context
    start, end = np.asarray(start_T[left:right], np.float64), np.asarray(end_T[left:right], np.float64)
    best = (left, left, _NOWHERE)
    for more in range(min(max_answer, len(start))):
        scores = start[: len(start) - more] + end[more:]
        place = int(np.argmax(scores))
        if scores[place] > best[2]:
            best = (left + place, left + place + more, float(scores[place]))
    return best


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnswerReport:
    """Exact match and F1 of all questions of an evaluation: a `report` of `jaxdl.train.Evaluation`.

    Attributes:
      windows: The source of the evaluation.
      max_answer: The longest answer, in tokens.
      no_answer: Whether there may be none; not in SQuAD 1.1.
      threshold: How much likelier none must be than the best answer to be taken.
    """

    windows: AnswerWindows
    max_answer: int = 30
    no_answer: bool = True
    threshold: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The results."""
        return squad.NAMES

    def statistics(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> np.ndarray:
        """What is summed, of each question (N, K)."""
        found = best_answers(
            self.windows,
            _rows(predictions),
            max_answer=self.max_answer,
            no_answer=self.no_answer,
            threshold=self.threshold,
        )
        questions: Questions = self.windows.questions
        return squad.statistics([found[n].text for n in found], [questions[n].texts for n in found])

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The results of summed statistics (K,)."""
        return squad.values(sums)

    def __call__(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
        """The results."""
        return self.values(self.statistics(predictions).sum(axis=0))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WrittenAnswerReport:
    """Exact match and F1 of answers that an encoder-decoder writes: a `report` of `jaxdl.train.Evaluation`.

    For the task `Translation` on `PairRows` of `question_pairs`; an answer of no words says that there is none.

    Attributes:
      tokenizer: Of the answers.
      questions: Those of the evaluation, in the order of its records.
    """

    tokenizer: Tokenizer
    questions: Questions

    @property
    def names(self) -> tuple[str, ...]:
        """The results."""
        return squad.NAMES

    def statistics(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> np.ndarray:
        """What is summed, of each question (N, K)."""
        written: list[str] = []
        right: list[tuple[str, ...]] = []
        for decoded, batch in predictions:
            written += texts_of(self.tokenizer, decoded["tokens"], decoded["length"])
            right += [self.questions[int(number)].texts for number in batch["record"]]
        return squad.statistics(written, right)

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The results of summed statistics (K,)."""
        return squad.values(sums)

    def __call__(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
        """The results."""
        return self.values(self.statistics(predictions).sum(axis=0))


def _rows(
    predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
    for decoded, batch in predictions:
        yield from zip(map(int, batch["window"]), decoded["start"], decoded["end"])
