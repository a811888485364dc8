import dataclasses

from jaxdl.data.text import PackedRows, Records, TextRows, by_score, characters, tokenized
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
