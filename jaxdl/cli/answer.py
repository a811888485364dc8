"""The part of jaxdl predict that answers questions about a text."""

import argparse
import json
from typing import TYPE_CHECKING

from jaxdl.cli.texts import named, read_text
from jaxdl.errors import ConfigError

if TYPE_CHECKING:
    from jaxdl.inference.loaded import Loaded

AROUND = 120
"""Characters of the context to show on either side of an answer."""


def asks(options: argparse.Namespace) -> bool:
    """Whether the flags ask questions.

    Raises:
      ConfigError: a context without a question, or the other way round, or files beside them; or nothing at all.
    """
    if options.context is None and not options.question:
        if not options.paths:
            raise ConfigError("Give files to predict on, or --context FILE with --question TEXT.")
        return False
    if options.context is None or not options.question or options.paths:
        raise ConfigError("Give --context FILE and --question TEXT together, without other files.")
    return True


def answers(loaded: "Loaded") -> bool:
    """Whether a model answers questions, so that files hold questions."""
    from jaxdl.inference.answers import learned_to_answer

    return learned_to_answer(loaded)


def run(options: argparse.Namespace, loaded: "Loaded") -> int:
    """Prints answers with their place marked, or for files of questions, one JSON line for each."""
    from jaxdl.inference.answers import answer_questions, read_questions

    if options.context is not None:
        context = read_text(options.context)
        found = answer_questions(loaded, [(context, text) for text in options.question], batch_size=options.batch_size)
        for answer in found:
            print(f"{answer.question}\n  {answer.text or '(no answer)'}  ({answer.probability:.2f})")
            print(f"  {' '.join(answer.marked(around=AROUND).split())}", flush=True)
        return 0
    for path in options.paths:
        questions = read_questions(read_text(path), place=named(path))
        for answer in answer_questions(loaded, questions, batch_size=options.batch_size):
            shown = {"question": answer.question, "answer": answer.text, "begin": answer.begin, "end": answer.end}
            shown |= {"probability": round(answer.probability, 6), "marked": answer.marked(around=AROUND)}
            print(json.dumps(shown, ensure_ascii=False, allow_nan=False), flush=True)
    return 0
