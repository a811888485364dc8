import dataclasses

import numpy as np
import pytest
from scipy.io import wavfile

from jaxdl.data import Pipeline
from jaxdl.data.audio import LogMel, SpeechRows, read_wav
from jaxdl.data.text import Records, Tokenizer, characters
from jaxdl.errors import ConfigError, DataError

FEATURES = LogMel(rate=8000, window=128, hop=64, num_mels=16)
SECONDS = (0.1, 0.05, 0.4, 0.2)
TEXTS = ("ab", "b", "abba", "a")
TOKENIZER = characters(["ab"])
BEGIN, END = 2, 3


@pytest.fixture
def records(tmp_path):
    files = []
    for number, seconds in enumerate(SECONDS):
        times = np.arange(int(8000 * seconds)) / 8000
        samples = np.sin(2 * np.pi * (300 + 200 * number) * times)
        files.append(str(tmp_path / f"{number}.wav"))
        wavfile.write(files[-1], 8000, (samples * 30_000).astype(np.int16))
    return Records(fields={"path": files, "text": TEXTS}, places=files)


def rows_of(records, **changes):
    return SpeechRows(records=records, tokenizer=TOKENIZER, features=FEATURES, **{"keep": "float32", **changes})


def test_a_row_is_what_is_heard_and_what_is_said(records):
    rows = rows_of(records, widths=(64,))
    row = rows[2]
    samples = read_wav(records.fields["path"][2]).samples
    np.testing.assert_allclose(row["mel"], FEATURES(samples, frames=64), atol=1e-6)
    assert row["lengths"] == FEATURES.frames(3200) == row["frame_mask"].sum()
    ids = TOKENIZER.encode("abba").tolist()
    assert row["targets"].tolist() == [*ids, END]
    assert row["targets_in"].tolist() == [BEGIN, *ids]
    short = rows[1]
    assert short["targets"].tolist() == [TOKENIZER.encode("b")[0], END, 0, 0, 0]
    assert short["target_mask"].tolist() == [1, 1, 0, 0, 0]
    assert (short["record"], rows.describe(1)) == (1, records.places[1])
    assert {name: value.dtype.name for name, value in row.items()} == {
        **dict.fromkeys(("targets", "targets_in", "record", "lengths"), "int32"),
        **dict.fromkeys(("mel", "frame_mask", "target_mask"), "float32"),
    }


def test_kept_or_read_again_rows_are_the_same(records):
    kept, half, again = (rows_of(records, keep=keep) for keep in ("float32", "float16", None))
    order = np.asarray([3, 0, 2, 1, 2])
    batches = [rows.gather(order) for rows in (kept, half, again)]
    assert batches[0]["mel"].shape == (5, FEATURES.frames(3200), 16)
    for name, value in batches[0].items():
        np.testing.assert_array_equal(value, batches[2][name])
        np.testing.assert_allclose(value, batches[1][name], atol=1e-3)
        np.testing.assert_array_equal(value, np.stack([kept[index][name] for index in order]))


def test_what_is_too_long_is_dropped_or_cut_and_counted(records):
    most = FEATURES.frames(1600)
    for keep in ("float32", None):
        dropping = rows_of(records, widths=(most,), keep=keep)
        assert (len(dropping), dropping.dropped, dropping.cut) == (3, 1, 0)
        what = f"1 of 4 recordings are longer than {most} frames, or their texts than"
        assert dropping.notes == (f"{what} 5 tokens, and were left out: give larger widths, or too_long='cut'.",)
        assert dropping.gather(np.arange(3))["record"].tolist() == [0, 1, 3]
        assert dropping[0]["targets"].shape == (5,)
        cutting = rows_of(records, widths=(most,), target_width=3, too_long="cut", keep=keep)
        assert (len(cutting), cutting.dropped, cutting.cut) == (4, 0, 1)
        assert cutting.notes == (f"{what} 3 tokens, and were cut.",)
        assert cutting[2]["lengths"] == most
        assert cutting[2]["targets"].tolist() == [*TOKENIZER.encode("ab"), END]
        assert np.isfinite(cutting[2]["mel"]).all()


def test_a_batch_is_as_wide_as_it_must_be(records):
    rows = rows_of(records, widths=(16, 32, 64))
    assert rows.lengths.tolist() == [FEATURES.frames(round(8000 * one)) for one in SECONDS]
    narrow, wide = rows.gather(np.asarray([1]), np.asarray([0, 1])), rows.gather(np.asarray([1]))
    assert (narrow["mel"].shape[1], wide["mel"].shape[1]) == (16, 64)
    np.testing.assert_array_equal(wide["mel"][:, :16], narrow["mel"])
    pipeline = Pipeline(source=rows, batch_size=2, window=2)
    assert {pipeline[step]["mel"].shape[1] for step in range(8)} == {16, 64}
    np.testing.assert_array_equal(pipeline[3]["mel"], pipeline[3]["mel"])


def test_another_rate_is_resampled(records, tmp_path):
    times = np.arange(6400) / 16_000
    wavfile.write(tmp_path / "16k.wav", 16_000, np.sin(2 * np.pi * 700 * times).astype(np.float32))
    both = Records(
        fields={"path": [str(tmp_path / "16k.wav"), records.fields["path"][2]], "text": ["a", "a"]}, places=("a", "b")
    )
    for keep in ("float32", None):
        batch = rows_of(both, keep=keep).gather(np.arange(2))
        assert batch["lengths"].tolist() == [51, 51]
        # The same tone of 700 Hz, but for how loud it is and where it ends.
        middle = batch["mel"][:, 10:40, 4:8]
        np.testing.assert_allclose(middle[0] - middle[0].max(), middle[1] - middle[1].max(), atol=0.02)


def test_bad_files_are_named_or_left_out(records):
    with open(records.fields["path"][1], "wb") as file:
        file.write(b"RIFF")
    for keep in ("float32", None):
        with pytest.raises(DataError, match=r"1.wav is no WAV file"):
            rows_of(records, keep=keep)
        rows = rows_of(records, keep=keep, on_bad="skip")
        assert (len(rows), rows.skipped) == (3, 1)
        assert rows.notes == ("1 of 4 recordings cannot be read and were left out.",)
        assert rows.gather(np.arange(3))["record"].tolist() == [0, 2, 3]
    whole = rows_of(records.take([0, 2, 3]))
    np.testing.assert_array_equal(rows.gather(np.arange(3))["mel"], whole.gather(np.arange(3))["mel"])
    with pytest.raises(DataError, match="None of the 1 recordings"):
        rows_of(records.take([1]), on_bad="skip")


def test_what_makes_no_sense_is_refused(records):
    for changes in ({"widths": ()}, {"widths": (4, 4)}, {"target_width": 1}, {"too_long": "keep"}, {"keep": "int8"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            rows_of(records, **changes)
    with pytest.raises(ConfigError, match="no field 'said'; they have path, text"):
        rows_of(records, text_field="said")
    with pytest.raises(DataError, match="All 4 recordings have more than 2 frames"):
        rows_of(records, widths=(2,))
    other = Tokenizer(TOKENIZER.json.replace("<bos>", "<x>"))
    with pytest.raises(ConfigError, match="'begin'"):
        dataclasses.replace(rows_of(records), tokenizer=other)
