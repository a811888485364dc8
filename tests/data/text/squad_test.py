import dataclasses
import json

import pytest

from jaxdl.data.text.squad import Question, Questions, question_pairs, read_squad, write_squad
from jaxdl.errors import DataError

CONTEXT = "Ann wrote it in 1900 in Rome."


def written(path, qas, context=CONTEXT, title="It"):
    path.write_text(json.dumps({"data": [{"title": title, "paragraphs": [{"context": context, "qas": qas}]}]}))
    return str(path)


def asked(number=1, start=0, text="Ann", **more):
    return {"id": f"q{number}", "question": "Who?", "answers": [{"text": text, "answer_start": start}], **more}


def test_reads_both_versions(tmp_path):
    qas = [
        asked(),
        {"id": 7, "question": "When?", "answers": [], "is_impossible": True, "plausible_answers": []},
        asked(3, 16, "1900", is_impossible=False),
    ]
    found = read_squad(path=written(tmp_path / "a.json", qas))
    assert [one.id for one in found] == ["q1", "7", "q3"]
    assert [one.answers for one in found] == [((0, "Ann"),), (), ((16, "1900"),)]
    assert found[0].texts == ("Ann",)
    assert found[1].context == CONTEXT
    assert found.skipped == {}
    assert isinstance(found[1:], Questions)
    assert "'It', question q3" in found[2].place


@pytest.mark.parametrize(
    ("entry", "context", "reason", "kind"),
    [
        (
            asked(2, 3),
            CONTEXT,
            "its answer 'Ann' is not at character 3 of the context, which has ' wr' there",
            "answer not at",
        ),
        (asked(2, -3), CONTEXT, "not at character -3", "answer not at"),
        (asked(2, 99), CONTEXT, "not at character 99", "answer not at"),
        (asked(2, 0, ""), CONTEXT, "its answer '' is not", "answer not at"),
        (asked(2), "  \n", "its context is empty", "empty context"),
        ({**asked(2), "question": " "}, CONTEXT, "it is empty", "empty question"),
        ({**asked(2), "answers": []}, CONTEXT, "has no answer, and does not say is_impossible", "no answer"),
    ],
)
def test_bad_questions_are_named_or_counted(tmp_path, entry, context, reason, kind):
    path = written(tmp_path / "a.json", [entry], context)
    with pytest.raises(DataError, match=r"a\.json, 'It', question q2: ") as error:
        read_squad(path=path)
    assert reason in str(error.value)
    whole = json.loads((tmp_path / "a.json").read_text())
    whole["data"].append({"title": "Good", "paragraphs": [{"context": CONTEXT, "qas": [asked(9)]}]})
    (tmp_path / "a.json").write_text(json.dumps(whole))
    found = read_squad(path=path, on_bad="skip")
    assert [one.id for one in found] == ["q9"]
    assert [word for word in found.skipped if word.startswith(kind)]
    assert sum(found.skipped.values()) == 1


def test_ids_are_unique(tmp_path):
    with pytest.raises(DataError, match=r"question q1: its id is that of .*'It', question q1"):
        read_squad(path=written(tmp_path / "a.json", [asked(), asked()]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "'data' is not there: this is not the JSON of SQuAD"),
        ("{", "is no JSON"),
        ('{"data": [{"title": "T", "paragraphs": {}}]}', "'T': 'paragraphs' is dict"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "'article 0', paragraph 0: 'context' is not there"),
        (
            '{"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": [{"id": "i", "question": "q"}]}]}]}',
            "question i: 'answers' is not there",
        ),
        (
            '{"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": [{"id": "i", "question": "q", '
            '"answers": []}]}]}]}',
            "question i: has no answer, and does not say is_impossible",
        ),
        ('{"data": []}', "holds no question"),
    ],
)
def test_other_files_are_refused(tmp_path, text, reason):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json") as error:
        read_squad(path=str(tmp_path / "a.json"))
    assert reason in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        read_squad(path=str(tmp_path / "none.json"))


def test_what_is_written_is_read_back(tmp_path):
    questions = [
        Question(id="1", question="Who?", context="Ünn was it.", answers=((0, "Ünn"),)),
        Question(id="2", question="When?", context="Ünn was it."),
        Question(id="3", question="What?", context="Other.", answers=((0, "Other"), (0, "Other."))),
    ]
    write_squad(tmp_path / "a.json", {"T": questions})
    found = read_squad(path=str(tmp_path / "a.json"))
    for ours, theirs in zip(questions, found, strict=True):
        assert (ours.id, ours.question, ours.context, ours.answers) == (
            theirs.id,
            theirs.question,
            theirs.context,
            theirs.answers,
        )


def test_pairs_for_an_encoder_decoder():
    questions = Questions(
        questions=(
            Question(
                id="1", question="Who\n was it?", context=CONTEXT, answers=((0, "Ann"), (24, "Rome")), place="here"
            ),
            Question(id="2", question="Why?", context="A  b.", place="there"),
        )
    )
    pairs = question_pairs(questions=dataclasses.replace(questions, skipped={"no text": 2}))
    assert pairs.skipped == {"no text": 2}
    assert pairs.fields["source"] == (f"question: Who was it? context: {CONTEXT}", "question: Why? context: A b.")
    assert pairs.fields["target"] == ("Ann", "")
    assert pairs.places == ("here", "there")
