"""Answers to questions about texts, with their place."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl import config as configs
from jaxdl.data.text.records import not_text
from jaxdl.data.text.squad import Question, Questions, question_text
from jaxdl.data.text.windows import AnswerWindows
from jaxdl.errors import ConfigError, DataError
from jaxdl.inference.loaded import Loaded
from jaxdl.inference.texts import LONGEST, predict_texts
from jaxdl.tasks.question_answering import QuestionAnswering, best_answers
from jaxdl.tasks.translation import Translation

_WINDOW = ("length", "overlap", "max_question")
_CHOICE = ("max_answer", "no_answer", "threshold")
_WRITTEN = ("question_pairs", "WrittenAnswerReport")
"""What only the config of an encoder-decoder that writes answers names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answers.

    Attributes:
      question: What was asked.
      context: About what.
      text: The answer, "" where there is said to be none.
      begin: Its first character in the context.
      end: The character behind it; `begin` where the context does not have the answer, as written.
      probability: Of this span, among all spans of its window; of a written answer, among all texts.
    """

    question: str
    context: str
    text: str
    begin: int
    end: int
    probability: float

    def marked(self, *, around: int | None = None, marks: tuple[str, str] = ("[[", "]]")) -> str:
        """The context with marks around the answer.

        >>> Answer(question="Who?", context="It was me, Ann.", text="Ann", begin=11, end=14, probability=1).marked()
        'It was me, [[Ann]].'

        Args:
          around: How many characters of the context to show on either side; None for all of it.
          marks: What stands before and behind the answer.
        """
        if self.begin == self.end:
            return self.context if around is None else _cut(self.context, 0, 2 * around)
        left = 0 if around is None else max(0, self.begin - around)
        right = len(self.context) if around is None else self.end + around
        before = ("..." if left else "") + self.context[left : self.begin]
        after = self.context[self.end : right] + ("..." if right < len(self.context) else "")
        return f"{before}{marks[0]}{self.context[self.begin : self.end]}{marks[1]}{after}"


def learned_to_answer(loaded: Loaded) -> bool:
    """Whether a model was trained by `QuestionAnswering`, or by `Translation` on `question_pairs`."""
    if not isinstance(loaded.task, Translation):
        return isinstance(loaded.task, QuestionAnswering)
    calls = [str(leaf.value) for leaf in configs.flatten(loaded.config) if leaf.key.split(".")[-1] == "call"]
    return any(call.rpartition(":")[2] in _WRITTEN for call in calls)


def answer_questions(loaded: Loaded, questions: Sequence[tuple[str, str]], *, batch_size: int = 16) -> list[Answer]:
    """Answers questions `(context, question)` as the evaluation of the training did.

    What is too long for an encoder-decoder is cut, as there; others read all of it, window by window.

    Args:
      loaded: From `load`: a model that was trained by `QuestionAnswering`, or by `Translation` on `question_pairs`.
      questions: At least one.
      batch_size: Windows a call.

    Raises:
      ConfigError: the model answers no questions, or has no tokenizer.
      DataError: a context or a question is empty, or no text.
    """
    if not isinstance(loaded.task, QuestionAnswering | Translation) or loaded.tokenizer is None:
        what = "has no tokenizer" if loaded.tokenizer is None else f"was trained by {type(loaded.task).__name__}"
        raise ConfigError(f"Answers need a model trained by QuestionAnswering or Translation; this one {what}.")
    for number, (context, question) in enumerate(questions, 1):
        if not context.strip() or not question.strip():
            raise DataError(f"Question {number} is {question!r} about {context[:20]!r}: neither may be empty.")
        for name, text in (("context", context), ("text", question)):
            if (reason := not_text(text)) is not None:
                raise DataError(f"The {name} of question {number} {reason}.")
    if isinstance(loaded.task, Translation):
        return _written(loaded, questions, batch_size)
    asked = tuple(Question(id=str(i), question=text, context=context) for i, (context, text) in enumerate(questions))
    window, choice = _settings(loaded.config)
    windows = AnswerWindows(questions=Questions(questions=asked), tokenizer=loaded.tokenizer, **window)
    found = best_answers(windows, _rows(loaded, windows, batch_size), **choice)
    return [
        Answer(
            question=asked[number].question,
            context=asked[number].context,
            text=one.text,
            begin=one.span.begin,
            end=one.span.end,
            probability=float(np.exp(one.score if one.text else one.null_score)),
        )
        for number, one in sorted(found.items())
    ]


def read_questions(text: str, *, place: str) -> list[tuple[str, str]]:
    """`(context, question)` of each line of JSON with these keys.

    Args:
      text: The lines, which only line feeds end.
      place: The file that they are from, for error messages.

    Raises:
      DataError: a line is of another form, by file and line, or there is none.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}:{number}: is no JSON: {error}.") from error
        if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("context", "question")):
            raise DataError(f"{place}:{number}: must be an object with the texts 'context' and 'question'.")
        for part in ("context", "question"):
            if (reason := not_text(value[part])) is not None:
                raise DataError(f"{place}:{number}: {part!r} {reason}.")
        found.append((value["context"], value["question"]))
    if not found:
        raise DataError(f"{place} holds no question.")
    return found


def _written(loaded: Loaded, questions: Sequence[tuple[str, str]], batch_size: int) -> list[Answer]:
    """The answers of an encoder-decoder, each with its first place in the context, whatever its case."""
    texts = [question_text(question, context) for context, question in questions]
    found = []
    written = predict_texts(loaded, texts, batch_size=batch_size, cut=_read(loaded.config))
    for (context, question), said in zip(questions, written):
        if said.values is None:
            raise DataError(f"{question!r} cannot be answered: {said.error}.")
        text = said.values["translation"]
        place = re.search(r"\s+".join(map(re.escape, text.split())), context, re.IGNORECASE) if text else None
        begin, end = place.span() if place else (0, 0)
        probability = float(np.exp(said.values["score"]))
        found.append(
            Answer(question=question, context=context, text=text, begin=begin, end=end, probability=probability)
        )
    return found


def _rows(loaded: Loaded, windows: AnswerWindows, batch_size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    predict = jax.jit(lambda state, batch: loaded.task.decode(loaded.learner.predict(state, batch)))
    for first in range(0, len(windows), batch_size):
        numbers = np.minimum(np.arange(first, first + batch_size), len(windows) - 1)
        batch = windows.gather(numbers) | {"mask": np.ones(batch_size, np.float32)}
        outputs = jax.device_get(predict(loaded.state, batch))
        for row in range(min(batch_size, len(windows) - first)):
            yield first + row, outputs["start"][row], outputs["end"][row]


def _read(config: Any) -> int:
    """How many tokens the first evaluation of the training read of a question and its context."""
    evals = config["evals"] if "evals" in config else {}
    sources = [evals[name]["data"]["source"] for name in evals]
    return next((source["widths"][-1] for source in sources[:1] if "widths" in source), LONGEST)


def _settings(config: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """How the first evaluation of the training cut windows and chose answers, or nothing for the defaults."""
    evals = config["evals"] if "evals" in config else {}
    for name in evals:
        source, report = evals[name]["data"]["source"], evals[name]["report"] if "report" in evals[name] else None
        return _kept(source, _WINDOW), _kept(report, _CHOICE)
    return {}, {}


def _kept(spec: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """The values of a spec that has all of these keys, else none."""
    return {key: spec[key] for key in keys} if spec is not None and all(key in spec for key in keys) else {}


def _cut(text: str, first: int, last: int) -> str:
    return text[first:last] + ("..." if last < len(text) else "")
