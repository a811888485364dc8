import dataclasses

from jaxdl.data.text import (
    AnswerWindows,
    MaskedRows,
    PackedRows,
    PairRows,
    Question,
    Questions,
    Records,
    TextRows,
    by_score,
    characters,
    tokenized,
    train_tokenizer,
)
from jaxdl.train import train
from jaxdl.train.left_out import left_out


def rows(skipped):
    records = Records(fields={"text": ("a b", "b a"), "score": ("2", "0.1")}, places=("f:1", "f:2"), skipped=skipped)
    records = by_score(records=records, margin=0.5)
    return TextRows(records=records, tokenizer=characters(["a b"]), length=4, labels=("negative", "positive"))


def test_what_readers_skipped_is_told_with_its_reasons(experiment):
    base = experiment()
    found = dataclasses.replace(
        base, train=dataclasses.replace(base.train, source=rows({"no field 'score'": 3}), batch_size=1)
    )
    assert list(left_out(found)) == ["train: 4 records were left out (no field 'score': 3, too near: 1)."]
    assert list(left_out(base)) == []


def test_a_stream_of_tokens_keeps_the_counts_of_its_records(experiment):
    records = Records(fields={"text": ("a b a b a b",)}, places=("f:1",), skipped={"not utf-8": 2})
    packed = PackedRows(stream=tokenized(records=records, tokenizer=characters(["a b"])).part(0.0, 1.0), length=3)
    base = experiment()
    found = dataclasses.replace(base, train=dataclasses.replace(base.train, source=packed, batch_size=1))
    assert list(left_out(found)) == ["train: 2 records were left out (not utf-8: 2)."]


def told(base, source):
    return list(left_out(dataclasses.replace(base, train=dataclasses.replace(base.train, source=source, batch_size=1))))


def test_what_was_too_long_is_told(experiment):
    base, tokenizer = experiment(), characters(["abc"])
    records = Records(
        fields={"source": ("a", "abcabc", "b"), "target": ("b", "c", "abcabcabc")}, places=("f:1", "f:2", "f:3")
    )
    pairs = {"records": records, "tokenizer": tokenizer, "widths": (2, 4)}
    why = "train: 2 of 3 pairs are longer than 4 tokens and were"
    assert told(base, PairRows(**pairs)) == [f"{why} left out: give larger widths, or too_long='cut'."]
    assert told(base, PairRows(**pairs, too_long="cut")) == [f"{why} cut."]
    assert told(base, PairRows(**{**pairs, "widths": (10,)})) == []
    texts = {"records": records, "tokenizer": tokenizer, "field": "source", "label_field": None}
    cut = TextRows(**texts, length=4)
    line = "train: 1 of 3 texts are longer than 4 tokens and were cut."
    assert told(base, cut) == [line]
    assert told(base, TextRows(**texts, length=6)) == []
    assert told(base, MaskedRows(source=cut, vocabulary_size=8, mask_token=4)) == [line], "whatever wraps the rows"


def test_questions_that_were_cut_are_told(experiment):
    asked = Questions(questions=(Question(id="1", question="who who who who", context="me"),), skipped={"no text": 1})
    tokenizer = train_tokenizer(["who me"] * 4, kind="wordpiece", vocabulary_size=30)
    windows = {"questions": asked, "tokenizer": tokenizer, "length": 12, "overlap": 1}
    skipped = "train: 1 records were left out (no text: 1)."
    cut = "train: 1 of 1 questions are longer than 2 tokens and were cut."
    assert told(experiment(), AnswerWindows(**windows, max_question=2)) == [skipped, cut]
    assert told(experiment(), AnswerWindows(**windows, max_question=6)) == [skipped]


@dataclasses.dataclass(frozen=True)
class Holey:
    """A source that left something out."""

    source: object
    skipped: dict

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source[index]


def test_training_says_so(experiment, tmp_path, capsys):
    base = experiment(steps=2, evals={})
    holey = dataclasses.replace(base.train, source=Holey(base.train.source, {"not there": 2}))
    train(dataclasses.replace(base, train=holey), tmp_path)
    assert "Warning: train: 2 records were left out (not there: 2)." in capsys.readouterr().err
