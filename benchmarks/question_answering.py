"""Trained readers beside rules: `python -m benchmarks.question_answering FOLDER [RUN ...]`.

The baseline is the sliding window of Richardson et al. (2013), as Rajpurkar et al. (2016) use it for SQuAD: of all
spans of up to six words, the one whose neighbourhood shares most with the question. The second one takes only spans
that the question word allows: numbers for when and how many, capitalised words for who and where. Neither says that
there is no answer, unless no span is left. Prints EM and F1 with 95 % bootstrap intervals over the questions of
`dev*.json`.
"""

import argparse
import math
import os
import re
from collections import Counter
from collections.abc import Callable

os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import numpy as np

from jaxdl.data.text.squad import Question, Questions, read_squad
from jaxdl.inference import load
from jaxdl.inference.answers import answer_questions
from jaxdl.inspection import table
from jaxdl.metrics import squad

WORD = re.compile(r"[\w'’-]+(?:[.,]\d+)*")
LONGEST = 6
SMALL = frozenset(
    WORD.findall(
        "a an the of in on at to is was are were be been by for with and or its it as from who what when where"
    )
)


def sliding_window(question: Question, *, typed: bool) -> str:
    """The span that the words around it speak for."""
    found = [(match.start(), match.end(), match[0]) for match in WORD.finditer(question.context)]
    words = [text.lower() for _, _, text in found]
    asked = {text.lower() for text in WORD.findall(question.question)} - SMALL
    counts = Counter(words)
    value = [math.log(1 + 1 / counts[word]) if word in asked else 0.0 for word in words]
    total = np.concatenate([[0.0], np.cumsum(value)])
    allowed = _allowed(question.question) if typed else lambda text: True
    best, answer = -1.0, ""
    for first in range(len(words)):
        for last in range(first, min(first + LONGEST, len(words))):
            text = question.context[found[first][0] : found[last][1]]
            inside = set(words[first : last + 1])
            if inside & asked or {words[first], words[last]} & SMALL or re.search(r"[.;]\s", text):
                continue
            if not allowed(text):
                continue
            left, right = max(0, first - len(asked)), min(len(words), last + 1 + len(asked))
            score = total[right] - total[left] + 0.01 * (last - first) * typed
            if score > best:
                best, answer = score, text
    return answer


def _allowed(question: str) -> Callable[[str], bool]:
    kind = question.lower()
    if kind.startswith(("when", "how many")) or "population" in kind or "number" in kind:
        return lambda text: bool(re.search(r"\d", text))
    if kind.startswith(("who ", "where", "in what", "what is the capital", "what family")) or "capital of" in kind:
        return lambda text: all(word[:1].isupper() for word in text.split() if word.lower() not in SMALL)
    return lambda text: True


def scores(questions: Questions, predictions: list[str], replicates: int) -> tuple[str, ...]:
    """Each result with its interval."""
    rows = squad.statistics(predictions, [one.texts for one in questions])
    random = np.random.default_rng(0)
    size = len(rows)
    draws = [squad.values(random.multinomial(size, np.full(size, 1 / size)) @ rows) for _ in range(replicates)]
    found = squad.values(rows.sum(axis=0))
    shown = []
    for name in squad.NAMES:
        low, high = np.quantile([draw[name] for draw in draws], [0.025, 0.975])
        shown.append(f"{found[name]:.1f} [{low:.1f}, {high:.1f}]")
    return tuple(shown)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Trained readers beside rules.")
    parser.add_argument("folder", help="with dev.json, or dev-v2.0.json and the like")
    parser.add_argument("runs", nargs="*", help="run folders")
    parser.add_argument("--replicates", type=int, default=1000)
    options = parser.parse_args()
    path = next(name for name in sorted(os.listdir(options.folder)) if name.startswith("dev") and name.endswith("json"))
    questions = read_squad(path=os.path.join(options.folder, path), on_bad="skip")
    rows = []
    for name, typed in (("sliding window", False), ("sliding window, typed", True)):
        guesses = [sliding_window(one, typed=typed) for one in questions]
        rows.append((name, *scores(questions, guesses, options.replicates)))
    for run in options.runs:
        found = answer_questions(load(run), [(one.context, one.question) for one in questions])
        rows.append((run, *scores(questions, [one.text for one in found], options.replicates)))
    print(f"{len(questions)} questions, {sum(not one.answers for one in questions)} of them without an answer")
    print(table(("", "EM", "F1", "EM answerable", "F1 answerable", "EM unanswerable"), rows))


if __name__ == "__main__":
    main()
