import subprocess
import sys

import numpy as np
import pytest

from jaxdl.data import Pipeline, once
from jaxdl.data.sources import array_record, write_array_record
from jaxdl.errors import DataError


def examples(first, count):
    for i in range(first, first + count):
        yield {"x": np.full((2, 3), i, np.float32), "label": np.int32(i % 3), "raw": bytes([i]) * (1 + i % 4)}


@pytest.fixture
def files(tmp_path):
    assert write_array_record(str(tmp_path / "b-1.array_record"), examples(5, 7)) == 7
    assert write_array_record(str(tmp_path / "b-0.array_record"), examples(0, 5)) == 5
    return tmp_path


def test_round_trip_over_several_files(files):
    source = array_record(path=str(files / "b-*.array_record"), labels=("a", "b", "c"))
    assert len(source) == 12
    for i, expected in enumerate(examples(0, 12)):
        example = source[i]
        assert (example["x"] == expected["x"]).all()
        assert example["label"].dtype == np.int32
        assert example["label"].shape == ()
        assert example["raw"].tobytes() == expected["raw"]
    assert source.labels == ("a", "b", "c")
    assert source.describe(4).endswith("b-0.array_record, record 4")
    assert source.describe(5).endswith("b-1.array_record, record 0")
    with pytest.raises(IndexError, match="12"):
        source[12]


def test_threads_read_the_same(files):
    source = array_record(path=str(files / "*"))
    batch = Pipeline(source=source, batch_size=24, threads=4, transforms=(narrow,))[0]
    assert sorted(batch["x"][:, 0, 0].tolist()) == sorted([*range(12), *range(12)])


def test_opens_nothing_before_the_first_read(files):
    program = (
        "import sys; from jaxdl.data.sources import array_record; "
        f"s = array_record(path={str(files / '*')!r}); print('array_record' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_damage_is_named_or_skipped(files):
    path, pattern = files / "b-1.array_record", str(files / "*")
    data, source = path.read_bytes(), array_record(path=pattern)
    whole, times_refused = [source[i] for i in range(12)], 0
    for place in range(100, 400, 30):
        path.write_bytes(data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :])
        source, refused = array_record(path=pattern), []
        for i in range(12):
            try:
                assert (source[i]["x"] == whole[i]["x"]).all()
            except DataError:
                refused.append(i)
        (batch,) = once(Pipeline(source=source, batch_size=12, on_bad="skip", transforms=(narrow,)))
        assert np.flatnonzero(batch["mask"] == 0).tolist() == refused
        if refused:
            times_refused += 1
            with pytest.raises(DataError, match=rf"b-1\.array_record, record {refused[0] - 5}.* corrupt"):
                list(once(Pipeline(source=source, batch_size=12, transforms=(narrow,))))
    assert times_refused > 0


def narrow(example):
    return {"x": example["x"], "label": example["label"]}


def test_truncated_and_foreign_files_are_refused(files):
    data = (files / "b-1.array_record").read_bytes()
    for content in (data[: len(data) // 2], b"not a record file " * 1000):
        (files / "b-1.array_record").write_bytes(content)
        with pytest.raises(DataError, match="b-1"):
            len(array_record(path=str(files / "b-1*")))


def test_missing_and_empty_files_are_refused(files):
    with pytest.raises(DataError, match=r"No file matches .*nothing-\*"):
        array_record(path=str(files / "nothing-*"))
    (files / "b-2.array_record").write_bytes(b"")
    with pytest.raises(DataError, match=r"b-2\.array_record is empty"):
        array_record(path=str(files / "*"))


def test_an_unfinished_file_does_not_appear(tmp_path):
    def failing():
        yield {"x": np.zeros(2)}
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_array_record(str(tmp_path / "x.array_record"), failing())
    assert not list(tmp_path.glob("*.array_record"))
    with pytest.raises(DataError, match="'name' is str"):
        write_array_record(str(tmp_path / "x.array_record"), [{"name": "cat"}])
