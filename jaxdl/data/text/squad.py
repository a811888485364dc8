"""Questions about a text, in the JSON of SQuAD 1.1 and 2.0."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.data.text.records import OnBad, Records, not_text
from jaxdl.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a context.

    Attributes:
      id: Of the question.
      question: Its text.
      context: Where the answer is.
      answers: `(character, text)` of each right answer: where it begins in the context. Empty where the context does
        not answer it.
      place: Where it was read, for error messages.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...] = ()
    place: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The right answers."""
        return tuple(text for _, text in self.answers)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Questions(Sequence[Question]):
    """Questions in memory.

    Attributes:
      questions: All of them.
      skipped: How many bad ones were left out, by the reason.
    """

    questions: tuple[Question, ...]
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: Any) -> Any:
        """One question, or for a slice, the questions of it."""
        if isinstance(index, slice):
            return Questions(questions=self.questions[index], skipped=self.skipped)
        return self.questions[index]


def read_squad(*, path: str, on_bad: OnBad = "raise") -> Questions:
    """Reads SQuAD's JSON: `data`, a list of articles with `title` and `paragraphs`, of those `context` and `qas`.

    Args:
      path: The file.
      on_bad: What to do about a question that is empty, has no context, has no answer without saying `is_impossible`,
        or has one that is not at the character where it is said to begin: raise, or leave it out and count it.

    Raises:
      DataError: the file cannot be read or is of another form, or a question is bad, by file, title and id.
    """
    found: list[Question] = []
    skipped: collections.Counter[str] = collections.Counter()
    seen: dict[str, str] = {}
    for place, context, entry in _entries(path):
        question = _question(place, context, entry)
        reason = _problem(question, _is_impossible(entry), seen)
        if reason is None:
            seen[question.id] = place
            found.append(question)
        elif on_bad == "raise":
            raise DataError(f"{place}: {reason[1]}. Repair it, or leave such questions out by on_bad='skip'.")
        else:
            skipped[reason[0]] += 1
    if not found:
        raise DataError(f"{path} holds no question{f' ({dict(skipped)} left out)' if skipped else ''}.")
    return Questions(questions=tuple(found), skipped=dict(skipped))


def write_squad(path: str | Path, articles: Mapping[str, Sequence[Question]], *, version: str = "v2.0") -> None:
    """Writes questions by the title of their article; those about one context share a paragraph."""
    data = []
    for title, questions in articles.items():
        paragraphs: dict[str, list[dict[str, Any]]] = {}
        for one in questions:
            answers = [{"text": text, "answer_start": start} for start, text in one.answers]
            entry = {"id": one.id, "question": one.question, "answers": answers, "is_impossible": not answers}
            paragraphs.setdefault(one.context, []).append(entry)
        data.append({"title": title, "paragraphs": [{"context": text, "qas": qas} for text, qas in paragraphs.items()]})
    Path(path).write_text(json.dumps({"version": version, "data": data}, ensure_ascii=False), encoding="utf-8")


def question_text(question: str, context: str) -> str:
    """What an encoder-decoder reads (Raffel et al. 2020, appendix D.15).

    >>> question_text("Who  was it?", "It was Ann.")
    'question: Who was it? context: It was Ann.'
    """
    return f"question: {' '.join(question.split())} context: {' '.join(context.split())}"


def question_pairs(*, questions: Questions) -> Records:
    """Questions for an encoder-decoder: fields "source", `question_text`, and "target", the first answer or nothing."""
    return Records(
        fields={
            "source": tuple(question_text(one.question, one.context) for one in questions),
            "target": tuple(" ".join(one.texts[0].split()) if one.answers else "" for one in questions),
        },
        places=tuple(one.place for one in questions),
        skipped=questions.skipped,
    )


def _entries(path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The place, the context and the entry of every question."""
    file = Path(path).expanduser()
    try:
        whole = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON: {error}.") from error
    for number, article in enumerate(_part(whole, "data", list, str(file))):
        title = article["title"] if isinstance(article, dict) and "title" in article else f"article {number}"
        place = f"{file}, {title!r}"
        for index, paragraph in enumerate(_part(article, "paragraphs", list, place)):
            context = _part(paragraph, "context", str, f"{place}, paragraph {index}")
            for entry in _part(paragraph, "qas", list, f"{place}, paragraph {index}"):
                name = _part(entry, "id", (str, int), f"{place}, paragraph {index}, a question")
                yield f"{place}, question {name}", context, entry


def _question(place: str, context: str, entry: Mapping[str, Any]) -> Question:
    text = _part(entry, "question", str, place)
    impossible = _is_impossible(entry)
    listed = [] if impossible and "answers" not in entry else _part(entry, "answers", list, place)
    pairs = [(_part(one, "answer_start", int, place), _part(one, "text", str, place)) for one in listed]
    answers = () if impossible else tuple(dict.fromkeys(pairs))
    return Question(id=str(entry["id"]), question=text, context=context, answers=answers, place=place)


def _is_impossible(entry: Mapping[str, Any]) -> bool:
    return "is_impossible" in entry and bool(entry["is_impossible"])


def _problem(question: Question, impossible: bool, seen: Mapping[str, str]) -> tuple[str, str] | None:
    """A word for what is wrong with a question, and the reason in full."""
    if question.id in seen:
        return "repeated id", f"its id is that of {seen[question.id]}"
    if not question.context.strip():
        return "empty context", "its context is empty"
    if not question.question.strip():
        return "empty question", "it is empty"
    if not question.answers and not impossible:
        return "no answer", "has no answer, and does not say is_impossible"
    for part, text in (("context", question.context), ("question", question.question)):
        if (reason := not_text(text)) is not None:
            return "no text", f"its {part} {reason}"
    for start, text in question.answers:
        there = question.context[start : start + len(text)] if start >= 0 else ""
        if there != text or not text.strip():
            reason = f"its answer {text!r} is not at character {start} of the context, which has {there!r} there"
            return "answer not at its place", reason
    return None


def _part(value: Any, key: str, kind: Any, place: str) -> Any:
    if not isinstance(value, dict) or key not in value or not isinstance(value[key], kind):
        what = f"{type(value[key]).__name__}" if isinstance(value, dict) and key in value else "not there"
        raise DataError(f"{place}: {key!r} is {what}: this is not the JSON of SQuAD.")
    return value[key]
