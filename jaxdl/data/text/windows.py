"""Questions with windows of their contexts as rows of token ids. Letters: B batch, L row length."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxdl.data.text.squad import Question, Questions
from jaxdl.data.text.tokenizer import Kind, Tokenizer, train_tokenizer
from jaxdl.errors import ConfigError


class Span(NamedTuple):
    """Characters `[begin, end)` of a context."""

    begin: int
    end: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnswerWindows:
    """Rows `[begin] question [separator] part of the context [separator]` (Devlin et al. 2019, section 4.2).

    A context that is too long for one row has several, and each shares `overlap` tokens with the one before.

    `tokens` (B, L) int32, `token_mask` (B, L), `token_types` (B, L) int32, 1 from the context on; `start` and `end`
    (B,) int32, the places of the first and last token of the answer, 0 where the row does not hold all of it; `window`
    (B,) int32, the number of the row.

    Attributes:
      questions: What is asked.
      tokenizer: Makes the tokens; it needs a begin and a separator token, such as [CLS] and [SEP].
      length: L.
      overlap: Tokens that neighbouring windows share.
      max_question: Longer questions are cut to so many tokens, and `shortened` counts them.
      question_of: The number of the question of each row.
    """

    questions: Questions
    tokenizer: Tokenizer
    length: int = 384
    overlap: int = 128
    max_question: int = 64
    question_of: np.ndarray = dataclasses.field(init=False, repr=False)
    shortened: int = dataclasses.field(init=False, repr=False)
    _asked: list[np.ndarray] = dataclasses.field(init=False, repr=False)
    _contexts: list[tuple[np.ndarray, np.ndarray]] = dataclasses.field(init=False, repr=False)
    _context_of: np.ndarray = dataclasses.field(init=False, repr=False)
    _first: np.ndarray = dataclasses.field(init=False, repr=False)
    _special: tuple[int, int, int] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        room = self.length - self.max_question - 3
        if self.max_question < 1 or not 0 <= self.overlap < room:
            raise ConfigError(
                f"A row of {self.length} tokens with a question of up to {self.max_question} has room for {room} of "
                f"the context: overlap must be in [0, {room}), not {self.overlap}, and max_question at least 1."
            )
        numbers: dict[str, int] = {}
        context_of = np.asarray([numbers.setdefault(one.context, len(numbers)) for one in self.questions])
        asked = self.tokenizer.encode_all([one.question for one in self.questions])
        pad = self.tokenizer.find("pad")
        values = {
            "shortened": sum(len(ids) > self.max_question for ids in asked),
            "_asked": [ids[: self.max_question] for ids in asked],
            "_contexts": self.tokenizer.offsets_all(list(numbers)),
            "_context_of": context_of,
            "_special": (
                self.tokenizer.special("begin"),
                self.tokenizer.special("separator"),
                0 if pad is None else pad,
            ),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        rows = [(number, first) for number in range(len(self.questions)) for first in self._firsts(number)]
        object.__setattr__(self, "question_of", np.asarray([number for number, _ in rows], np.int64))
        object.__setattr__(self, "_first", np.asarray([first for _, first in rows], np.int64))

    def __len__(self) -> int:
        return len(self.question_of)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,)."""
        indices = np.asarray(indices)
        begin, separator, pad = self._special
        tokens = np.full((len(indices), self.length), pad, np.int32)
        types = np.zeros((len(indices), self.length), np.int32)
        mask = np.zeros((len(indices), self.length), np.float32)
        ends = np.zeros((len(indices), 2), np.int32)
        for row, index in enumerate(indices.tolist()):
            asked, (left, right) = self._asked[self.question_of[index]], self.context_tokens(index)
            first = self._first[index]
            part = self._tokens(index)[0][first : first + right - left]
            ids = np.concatenate([[begin], asked, [separator], part, [separator]])
            tokens[row, : len(ids)], mask[row, : len(ids)], types[row, left : len(ids)] = ids, 1, 1
            ends[row] = self._answer(index)
        return {
            "tokens": tokens,
            "token_mask": mask,
            "token_types": types,
            "start": ends[:, 0],
            "end": ends[:, 1],
            "window": indices.astype(np.int32),
        }

    def describe(self, index: int) -> str:
        """The question's place."""
        return self.questions[int(self.question_of[index])].place

    @property
    def notes(self) -> tuple[str, ...]:
        """How many questions were cut, for the start of a run."""
        many = f"{self.shortened:,} of {len(self.questions):,} questions are longer than {self.max_question} tokens"
        return (f"{many} and were cut.",) if self.shortened else ()

    def context_tokens(self, index: int) -> tuple[int, int]:
        """The places `[left, right)` of a row that hold tokens of the context."""
        left = len(self._asked[self.question_of[index]]) + 2
        rest = len(self._tokens(index)[0]) - int(self._first[index])
        return left, left + min(self.length - left - 1, rest)

    def span(self, index: int, start: int, end: int) -> Span:
        """The characters of the context that the tokens at the places `start` to `end` of a row stand for."""
        offsets = self._tokens(index)[1]
        shift = int(self._first[index]) - self.context_tokens(index)[0]
        return Span(int(offsets[start + shift, 0]), int(offsets[end + shift, 1]))

    def question(self, index: int) -> Question:
        """The question of a row."""
        return self.questions[int(self.question_of[index])]

    def _tokens(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._contexts[self._context_of[self.question_of[index]]]

    def _firsts(self, number: int) -> range:
        """The first context token of each window of a question."""
        room = self.length - len(self._asked[number]) - 3
        size = len(self._contexts[self._context_of[number]][0])
        return range(0, max(1, size - self.overlap), room - self.overlap)

    def _answer(self, index: int) -> tuple[int, int]:
        """The places of the first answer that the row holds, or zeros."""
        offsets, (left, right) = self._tokens(index)[1], self.context_tokens(index)
        first = int(self._first[index])
        for character, text in self.question(index).answers:
            start = int(np.searchsorted(offsets[:, 1], character, side="right"))
            end = int(np.searchsorted(offsets[:, 0], character + len(text), side="left")) - 1
            if first <= start <= end < first + right - left:
                return start - first + left, end - first + left
        return 0, 0


def tokenizer_of_questions(
    *, questions: Questions, kind: Kind = "wordpiece", vocabulary_size: int = 8_000
) -> Tokenizer:
    """A tokenizer trained on questions and their contexts; see `train_tokenizer`."""
    contexts = dict.fromkeys(one.context for one in questions)
    texts = [*contexts, *(one.question for one in questions)]
    return train_tokenizer(texts, kind=kind, vocabulary_size=vocabulary_size)
