import collections
import dataclasses

import numpy as np
import pytest

from jaxdl.data.text import Records, read_table
from jaxdl.data.text.labels import by_score, few_of, fold_of, joined, read_classes
from jaxdl.errors import ConfigError, DataError


def scored(*scores):
    return Records(
        fields={"text": tuple(f"text {i}" for i in range(len(scores))), "score": tuple(map(str, scores))},
        places=tuple(f"a.tsv:{i + 1}" for i in range(len(scores))),
    )


def labelled(**counts):
    labels = [label for label, count in counts.items() for _ in range(count)]
    return Records(
        fields={"text": tuple(f"{label} {i}" for i, label in enumerate(labels)), "label": tuple(labels)},
        places=tuple(f"a:{i}" for i in range(len(labels))),
    )


def test_labels_from_scores():
    found = by_score(records=scored(-2, 0.1, 0, 3))
    assert found.fields["label"] == ("negative", "positive", "negative", "positive")
    assert found.skipped == {}
    found = by_score(records=scored(-2, -0.4, 0.4, 3), margin=0.5)
    assert list(found.fields["text"]) == ["text 0", "text 3"]
    assert list(found.places) == ["a.tsv:1", "a.tsv:4"]
    assert found.skipped == {"too near": 2}
    found = by_score(records=scored(1, 3, 5), thresholds=(2, 4), labels=("low", "middle", "high"), label_field="level")
    assert found.fields["level"] == ("low", "middle", "high")


def test_a_file_of_scores_is_read_as_it_stands(tmp_path):
    (tmp_path / "truth.txt").write_bytes('1\t2.5\tA "good one\n2\t-1\tcaf\xe9\n'.encode("latin1"))
    records = read_table(
        path=str(tmp_path / "truth.txt"),
        fields={"score": 1, "text": 2},
        delimiter="\t",
        header=False,
        quoted=False,
        encoding="latin1",
    )
    found = by_score(records=records)
    assert found[0] == {"score": "2.5", "text": 'A "good one', "label": "positive"}
    assert found[1]["text"] == "café"


def test_bad_scores_are_named():
    with pytest.raises(DataError, match=r"a\.tsv:2: the score 'x' is no finite number"):
        by_score(records=scored(1, "x"))
    with pytest.raises(DataError, match=r"a\.tsv:1: the score 'nan' is no finite number"):
        by_score(records=scored("nan"))
    found = by_score(records=scored(2, "x", -1, "inf", 0.1), margin=0.5, on_bad="skip")
    assert (list(found.places), found.fields["label"]) == (["a.tsv:1", "a.tsv:3"], ("positive", "negative"))
    assert found.skipped == {"no finite score": 2, "too near": 1}
    with pytest.raises(DataError, match="None of the 1 records has a score"):
        by_score(records=scored("x"), on_bad="skip")
    with pytest.raises(DataError, match="choose a smaller margin"):
        by_score(records=scored(0.1), margin=1.0)
    with pytest.raises(ConfigError, match="need one rising threshold fewer"):
        by_score(records=scored(1), labels=("one", "two", "three"))
    with pytest.raises(ConfigError, match="no field 'stars'; they have text, score"):
        by_score(records=scored(1), field="stars")


def test_folders_are_classes(tmp_path):
    for name, text in (("neg/b.txt", "bad"), ("neg/a.txt", "worse\nstill"), ("pos/c.txt", "good")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_classes(path=str(tmp_path))
    assert found.fields == {"text": ("worse\nstill", "bad", "good"), "label": ("neg", "neg", "pos")}
    assert found.places[2].endswith("pos/c.txt")
    with pytest.raises(DataError, match="holds no folder for a class"):
        read_classes(path=str(tmp_path / "pos"))
    with pytest.raises(DataError, match="holds no folder for a class"):
        read_classes(path=str(tmp_path / "none"))


def test_folds_share_nothing_and_keep_the_shares():
    records = labelled(a=50, b=100)
    seen = []
    for fold in range(5):
        test = fold_of(records=records, part="test", fold=fold)
        train = fold_of(records=records, part="train", fold=fold)
        assert collections.Counter(test.fields["label"]) == {"a": 10, "b": 20}
        assert sorted(test.places + train.places) == sorted(records.places)
        seen += test.places
    assert sorted(seen) == sorted(records.places)
    whole = fold_of(records=records, part="test", label_field=None)
    assert len(whole) == 30
    with pytest.raises(ConfigError, match="no field 'stars'"):
        fold_of(records=records, part="test", label_field="stars")


@pytest.mark.parametrize("count", [1, 2, 9, 30, 149, 150])
def test_few_keep_the_shares(count):
    records = labelled(a=50, b=100)
    found = few_of(records=records, count=count)
    assert len(found) == len(set(found.places)) == count
    shares = collections.Counter(found.fields["label"])
    assert abs(shares["a"] - count / 3) <= 1
    assert few_of(records=records, count=count).places == found.places
    if 1 < count < 149:
        assert few_of(records=records, count=count, seed=1).places != found.places


def test_few_are_drawn_evenly():
    records = labelled(a=4, b=4)
    drawn = collections.Counter(
        place for seed in range(400) for place in few_of(records=records, count=4, seed=seed).places
    )
    assert set(drawn) == set(records.places)
    np.testing.assert_allclose(list(drawn.values()), 200, atol=45)


def test_few_are_some():
    with pytest.raises(DataError, match=r"count must be in \[1, 3\]"):
        few_of(records=labelled(a=3), count=4)


def test_joined_texts_keep_their_places():
    parts = [dataclasses.replace(one, skipped={"no text": 2}) for one in (labelled(a=1), scored(1, 2))]
    found = joined(parts=tuple(parts))
    assert found.skipped == {"no text": 4}
    assert found.fields == {"text": ("a 0", "text 0", "text 1")}
    assert found.places == ("a:0", "a.tsv:1", "a.tsv:2")
