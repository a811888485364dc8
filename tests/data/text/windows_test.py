import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline
from jaxdl.data.text import train_tokenizer
from jaxdl.data.text.squad import Question, Questions
from jaxdl.data.text.windows import AnswerWindows, tokenizer_of_questions
from jaxdl.errors import ConfigError

WORDS = [f"word{number}" for number in range(40)]
CONTEXT = " ".join(WORDS)
TOKENIZER = train_tokenizer([CONTEXT, "who is it ?"], kind="wordpiece", vocabulary_size=400)


def question(first=None, last=None, text="who is it ?", context=CONTEXT):
    if first is None:
        return Question(id="n", question=text, context=context, place="here")
    begin = context.index(WORDS[first] + " ")
    return Question(
        id="q",
        question=text,
        context=context,
        answers=((begin, " ".join(WORDS[first : last + 1])),),
        place="here",
    )


def windows(*questions, length=24, overlap=6, max_question=8):
    return AnswerWindows(
        questions=Questions(questions=questions),
        tokenizer=TOKENIZER,
        length=length,
        overlap=overlap,
        max_question=max_question,
    )


def test_a_row_is_laid_out_as_in_bert():
    source = windows(question(0, 1), length=64, max_question=16)
    row = source[0]
    asked = TOKENIZER.encode("who is it ?")
    begin, separator = TOKENIZER.special("begin"), TOKENIZER.special("separator")
    left = len(asked) + 2
    assert row["tokens"][:left].tolist() == [begin, *asked, separator]
    filled = int(row["token_mask"].sum())
    right = source.context_tokens(0)[1]
    assert row["tokens"][left:right].tolist() == TOKENIZER.encode(CONTEXT)[: right - left].tolist()
    assert row["tokens"][right] == separator
    assert filled == right + 1
    assert (row["tokens"][filled:] == TOKENIZER.special("pad")).all()
    assert row["token_types"].tolist() == [0] * left + [1] * (filled - left) + [0] * (64 - filled)
    assert row["start"] == left


def test_windows_share_the_overlap_and_cover_the_context():
    source = windows(question())
    ids = TOKENIZER.encode(CONTEXT)
    parts = []
    for row in range(len(source)):
        left, right = source.context_tokens(row)
        parts.append(source[row]["tokens"][left:right].tolist())
    for before, after in itertools.pairwise(parts):
        assert before[-6:] == after[:6]
    assert sum((part[6:] for part in parts[1:]), parts[0]) == ids.tolist()
    assert [len(part) for part in parts[:-1]] == [24 - 3 - len(TOKENIZER.encode("who is it ?"))] * (len(parts) - 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 38), st.integers(0, 3), st.integers(17, 60), st.integers(0, 5))
def test_the_answer_is_found_wherever_a_window_holds_all_of_it(first, more, length, overlap):
    last = min(first + more, 38)
    one = question(first, last)
    source = windows(one, question(), length=length, overlap=overlap, max_question=8)
    rows = source.gather(np.arange(len(source)))
    held = []
    for row in range(len(source)):
        start, end = int(rows["start"][row]), int(rows["end"][row])
        left, right = source.context_tokens(row)
        if source.question_of[row] == 1:
            assert (start, end) == (0, 0)
        elif start:
            span = source.span(row, start, end)
            assert one.context[span.begin : span.end] == one.answers[0][1]
            assert left <= start <= end < right
            held.append(row)
        else:
            begin, text = one.answers[0]
            inside = source.span(row, left, right - 1)
            assert not (inside.begin <= begin and begin + len(text) <= inside.end)
    if length > 50:
        assert held


def test_answers_within_words_take_the_whole_token_and_any_answer_counts():
    context = "prewar Berlin"
    one = Question(id="1", question="where", context=context, answers=((3, "war"), (7, "Berlin")))
    source = AnswerWindows(
        questions=Questions(questions=(one,)), tokenizer=TOKENIZER, length=32, overlap=0, max_question=8
    )
    span = source.span(0, int(source[0]["start"]), int(source[0]["end"]))
    assert "war" in context[span.begin : span.end]


def test_long_questions_are_cut_and_empty_room_is_refused():
    source = windows(question(text="who " * 50))
    assert source.context_tokens(0)[0] == 8 + 2
    with pytest.raises(ConfigError, match=r"has room for 13 .*overlap must be in \[0, 13\), not 13"):
        windows(question(), overlap=13)


def test_serves_a_pipeline():
    source = windows(question(0, 1), question())
    batch = Pipeline(source=source, batch_size=2, shuffle=False)[0]
    assert batch["tokens"].shape == (2, 24)
    assert source.describe(0) == "here"
    np.testing.assert_array_equal(batch["window"], [0, 1])


def test_a_tokenizer_is_learned_from_questions():
    made = tokenizer_of_questions(questions=Questions(questions=(question(),)), vocabulary_size=60)
    assert made.vocabulary_size <= 60
    assert made.find("unknown") not in made.encode("who").tolist()
