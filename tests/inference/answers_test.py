"""Files of questions, and which models answer them; `tests/language_configs_test.py` has trained ones."""

import json

import pytest

from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, Questions, question_pairs, read_lines, utf8_bytes
from jaxdl.errors import DataError
from jaxdl.inference.answers import _read, answer_questions, learned_to_answer, read_questions
from jaxdl.inference.loaded import Loaded
from jaxdl.tasks import Classification, QuestionAnswering, Translation, WrittenAnswerReport
from jaxdl.train import Evaluation, Experiment


def loaded(task, config):
    return Loaded(
        learner=None,
        state=None,
        task=task,
        preprocess=(),
        config=config,
        facts={},
        step=0,
        tokenizer=utf8_bytes(),
    )


def evaluation(records, **more):
    source = spec(PairRows, records=records, tokenizer=spec(utf8_bytes), widths=(16, 48), too_long="cut")
    data = spec(Pipeline, source=source, batch_size=2)
    return spec(Experiment, evals={"dev": spec(Evaluation, data=data, **more)})


PAIRS = spec(question_pairs, questions=spec(Questions, questions=()))
NOTHING = spec(Experiment)
TEXTS = spec(read_lines, path="texts.txt")


def test_lines_end_at_line_feeds_only():
    asked = [("It\u2028was\x85built.", "When?"), ("b", "c")]
    lines = [json.dumps({"context": context, "question": text}, ensure_ascii=False) for context, text in asked]
    assert read_questions("\r\n\n".join(lines) + "\n", place="q.jsonl") == asked
    with pytest.raises(DataError, match=r"q\.jsonl:3: is no JSON"):
        read_questions(lines[0] + "\n\n{", place="q.jsonl")
    with pytest.raises(DataError, match=r"q\.jsonl holds no question"):
        read_questions("\n", place="q.jsonl")


def test_a_translator_that_learned_question_pairs_answers():
    task, report = Translation(vocabulary_size=300), spec(WrittenAnswerReport, tokenizer=None, questions=None)
    assert learned_to_answer(loaded(task, evaluation(PAIRS)))
    assert learned_to_answer(loaded(task, evaluation(TEXTS, report=report)))
    assert not learned_to_answer(loaded(task, evaluation(TEXTS)))
    assert learned_to_answer(loaded(QuestionAnswering(), NOTHING))
    assert not learned_to_answer(loaded(Classification(num_classes=2), evaluation(PAIRS)))


def test_what_an_encoder_decoder_reads_is_cut_as_in_the_evaluation():
    assert _read(evaluation(PAIRS)) == 48
    assert _read(NOTHING) == 1024


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("a", " "), "Question 2 is ' ' about 'a': neither may be empty"),
        (("a\ud800", "b"), "The context of question 2 holds half a character"),
        (("a", "b\udcff"), "The text of question 2 holds half a character"),
    ],
)
def test_questions_are_counted_from_1(asked, message):
    model = loaded(QuestionAnswering(), NOTHING)
    with pytest.raises(DataError, match=message):
        answer_questions(model, [("a", "b"), asked])
