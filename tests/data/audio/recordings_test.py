import json
import os

import numpy as np
import pytest
from scipy.io import wavfile

from jaxdl.data.audio import recordings, spoken_digits
from jaxdl.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Twelve takes of three digits by two speakers."""
    for digit in (0, 3, 9):
        for name in ("ann", "ben"):
            for take in range(7):
                wavfile.write(tmp_path / f"{digit}_{name}_{take}.wav", 8000, np.zeros(10, np.int16))
    return tmp_path


def test_a_table_names_files_beside_it(tmp_path):
    whole = tmp_path / "2.wav"
    (tmp_path / "a.tsv").write_text(f"speaker\tfile\tsaid\nann\tsub/1.wav\tgood day\nben\t{whole}\tyes\n")
    found = recordings(path=str(tmp_path / "a.tsv"), path_field="file", text_field="said")
    assert list(found.fields["path"]) == [str(tmp_path / "sub" / "1.wav"), str(whole)]
    assert list(found.fields["text"]) == ["good day", "yes"]
    assert found.places[1] == f"{tmp_path / 'a.tsv'}:3"


def test_a_table_names_no_files_elsewhere_but_in_the_folder_it_is_given(tmp_path):
    manifest = tmp_path / "lists" / "a.csv"
    manifest.parent.mkdir()
    manifest.write_text("path,text\n1.wav,yes\n../2.wav,no\n/abs/3.wav,well\n")
    with pytest.raises(DataError, match=r"a\.csv:3: '\.\./2\.wav' is no file in .*lists\. Give the `folder`"):
        recordings(path=str(manifest))
    found = recordings(path=str(manifest), on_bad="skip")
    assert (list(found.fields["text"]), found.skipped) == (["yes"], {"a file elsewhere": 2})
    assert list(found.places) == [f"{manifest}:2"]
    everywhere = recordings(path=str(manifest), folder="/")
    assert list(everywhere.fields["path"]) == [str(manifest.parent / "1.wav"), str(tmp_path / "2.wav"), "/abs/3.wav"]
    above = recordings(path=str(manifest), folder=str(tmp_path), on_bad="skip")
    assert list(above.fields["path"]) == [str(manifest.parent / "1.wav"), str(tmp_path / "2.wav")]
    manifest.write_text("path,text\n../1.wav,yes\n../2.wav,no\n/abs/3.wav,well\n")
    with pytest.raises(DataError, match="None of the 3 files of the manifest is in"):
        recordings(path=str(manifest), on_bad="skip")
    with pytest.raises(ValueError, match="is for manifests"):
        recordings(path=str(tmp_path), folder="/")


def test_json_lines_do_too_and_bad_ones_are_found(tmp_path):
    lines = [{"path": "1.wav", "text": "yes"}, {"path": "2.wav", "text": ""}, {"path": "3.wav", "text": "no"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(DataError, match=r"a.jsonl:2: the field 'text' is empty"):
        recordings(path=str(tmp_path / "a.jsonl"))
    found = recordings(path=str(tmp_path / "a.jsonl"), on_bad="skip")
    assert list(found.fields["text"]) == ["yes", "no"]
    assert found.skipped == {"an empty field": 1}


def test_a_folder_has_transcripts_beside_recordings(tmp_path):
    (tmp_path / "b").mkdir()
    for name, text in (("b/1", "good\nday\n"), ("2", "yes")):
        (tmp_path / f"{name}.wav").write_bytes(b"")
        (tmp_path / f"{name}.txt").write_text(text)
    found = recordings(path=str(tmp_path))
    assert list(found.fields["text"]) == ["yes", "good day"]
    (tmp_path / "3.WAV").write_bytes(b"")
    with pytest.raises(DataError, match=r"3.WAV has no transcript: write what is said to 3.txt"):
        recordings(path=str(tmp_path))
    assert recordings(path=str(tmp_path), on_bad="skip").skipped == {"no transcript": 1}
    (tmp_path / "3.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"transcript .*3.txt cannot be read"):
        recordings(path=str(tmp_path))
    (tmp_path / "3.txt").unlink()
    os.mkfifo(tmp_path / "3.txt")
    with pytest.raises(DataError, match=r"transcript .*3.txt is no file of at most 10,000,000 bytes"):
        recordings(path=str(tmp_path))
    (tmp_path / "3.txt").unlink()
    with open(tmp_path / "3.txt", "wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(DataError, match=r"transcript .*3.txt is no file of at most"):
        recordings(path=str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \*.wav"):
        recordings(path=str(tmp_path / "empty"))


def test_spoken_digits_are_split_as_published(folder):
    parts = {part: spoken_digits(path=str(folder), part=part) for part in ("train", "test", "all")}
    assert {part: len(found) for part, found in parts.items()} == {"train": 12, "test": 30, "all": 42}
    assert set(parts["train"].fields["path"]) | set(parts["test"].fields["path"]) == set(parts["all"].fields["path"])
    assert parts["train"][0] == {
        "path": str(folder / "0_ann_5.wav"),
        "text": "zero",
        "label": "0",
        "speaker": "ann",
    }
    assert set(parts["test"].fields["text"]) == {"zero", "three", "nine"}


def test_a_speaker_may_be_held_out(folder):
    train, test = (spoken_digits(path=str(folder), part=part, speaker="ben") for part in ("train", "test"))
    assert (set(train.fields["speaker"]), set(test.fields["speaker"])) == ({"ann"}, {"ben"})
    assert (len(train), len(test)) == (21, 21)
    with pytest.raises(DataError, match=r"Nobody is called 'cleo' in .*; there are ann, ben"):
        spoken_digits(path=str(folder), part="test", speaker="cleo")


def test_what_is_no_spoken_digit_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="part must be"):
        spoken_digits(path=str(folder), part="val")
    with pytest.raises(DataError, match="holds no recording"):
        spoken_digits(path=str(folder / "none"), part="all")
    (folder / "ten_ann_1.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"ten_ann_1.wav is not named DIGIT_SPEAKER_NUMBER.wav"):
        spoken_digits(path=str(folder), part="all")
