import gzip

import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, Records, characters, read_parallel, tokenizer_of
from jaxdl.errors import ConfigError, DataError

TEXTS = ("ab", "a", "abcab", "c", "abca")
RECORDS = Records(
    fields={"source": TEXTS, "target": tuple(text[::-1].upper() for text in TEXTS)},
    places=tuple(f"lines:{number}" for number in range(1, 6)),
)
TOKENIZER = characters(["abcABC"])
BEGIN, END = 2, 3


def test_rows_are_what_an_encoder_decoder_reads():
    row = PairRows(records=RECORDS, tokenizer=TOKENIZER, widths=(8,))[0]
    ids = TOKENIZER.encode
    assert row["tokens"].tolist() == [*ids("ab"), END, 0, 0, 0, 0, 0]
    assert row["token_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert row["targets"].tolist() == [*ids("BA"), END, 0, 0, 0, 0, 0]
    assert row["targets_in"].tolist()[:3] == [BEGIN, *ids("BA")]
    assert row["target_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert {name: value.dtype.name for name, value in row.items()} == {
        **dict.fromkeys(("tokens", "targets_in", "targets", "record"), "int32"),
        **dict.fromkeys(("token_mask", "target_mask"), "float32"),
    }


def test_pairs_that_are_too_long_are_dropped_or_cut_and_counted():
    dropping = PairRows(records=RECORDS, tokenizer=TOKENIZER, widths=(4,))
    assert (len(dropping), dropping.dropped, dropping.cut) == (3, 2, 0)
    assert dropping.gather(np.arange(3))["record"].tolist() == [0, 1, 3]
    assert dropping.describe(2) == "lines:4"
    cutting = PairRows(records=RECORDS, tokenizer=TOKENIZER, widths=(4,), too_long="cut")
    assert (len(cutting), cutting.dropped, cutting.cut) == (5, 0, 2)
    long = cutting[2]
    assert long["tokens"].tolist() == [*TOKENIZER.encode("abc"), END]
    assert long["targets"].tolist() == [*TOKENIZER.encode("BAC"), END]
    assert long["targets_in"].tolist() == [BEGIN, *TOKENIZER.encode("BAC")]


def test_two_languages_may_have_a_tokenizer_each():
    rows = PairRows(records=RECORDS, tokenizer=characters(["abc"]), target_tokenizer=characters(["ABC"]))
    assert rows[0]["tokens"][:2].tolist() == [6, 7]
    assert rows[0]["targets"][:2].tolist() == [7, 6]


def test_a_batch_is_as_wide_as_it_must_be():
    rows = PairRows(records=RECORDS, tokenizer=TOKENIZER, widths=(3, 5, 9))
    assert rows.lengths.tolist() == [3, 2, 6, 2, 5]
    widths = [rows.gather(np.array([0]), np.array(within))["targets"].shape for within in ([0, 1], [0, 4], [2, 1])]
    assert widths == [(1, 3), (1, 5), (1, 9)]
    wide, narrow = rows.gather(np.array([1, 3])), rows.gather(np.array([1, 3]), np.array([1, 3]))
    for name in ("tokens", "targets", "targets_in", "token_mask", "target_mask"):
        np.testing.assert_array_equal(wide[name][:, :3], narrow[name])
    pipeline = Pipeline(source=rows, batch_size=2, window=2)
    seen = [pipeline[step]["record"] for step in range(5)]
    assert sorted(np.concatenate(seen).tolist()) == sorted([*range(5)] * 2)
    assert len({pipeline[step]["tokens"].shape[1] for step in range(20)}) > 1


@pytest.mark.parametrize("widths", [(), (5, 4), (4, 4), (1, 4)])
def test_widths_must_rise(widths):
    with pytest.raises(ValueError, match="widths"):
        PairRows(records=RECORDS, tokenizer=TOKENIZER, widths=widths)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="no field 'text'"):
        PairRows(records=RECORDS, tokenizer=TOKENIZER, source_field="text")
    with pytest.raises(DataError, match="All 5 pairs are longer than 2"):
        PairRows(records=Records(fields={"source": TEXTS[2:3] * 5, "target": TEXTS}, places=TEXTS),
                 tokenizer=TOKENIZER, widths=(2,))  # fmt: skip
    with pytest.raises(ValueError, match="too_long"):
        PairRows(records=RECORDS, tokenizer=TOKENIZER, too_long="keep")


def test_gzipped_files_pair_up(tmp_path):
    for name, text in (("en", "a cat\nmenu\n"), ("de", "eine Katze\nMenü\n")):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    records = read_parallel(source=str(tmp_path / "en.gz"), target=str(tmp_path / "de.gz"))
    assert records.fields == {"source": ("a cat", "menu"), "target": ("eine Katze", "Menü")}
    tokenizer = tokenizer_of(records=records, vocabulary_size=300, field=("source", "target"))
    assert tokenizer.decode(tokenizer.encode("eine Katze")) == "eine Katze"
    (tmp_path / "en.gz").write_bytes(gzip.compress(b"a cat\n" * 99)[:-12])
    with pytest.raises(DataError, match="cut short"):
        read_parallel(source=str(tmp_path / "en.gz"), target=str(tmp_path / "de.gz"))
