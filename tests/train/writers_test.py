import json
import math
import os
import signal
import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import DataError, WorkdirError
from jaxdl.train.writers import JsonlWriter, TensorBoardWriter, read_rows


def refuse(token):
    raise AssertionError(f"{token} is not strict JSON")


def test_a_row_is_one_line_of_strict_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with JsonlWriter(path) as writer:
        writer.write(
            1, "train", {"loss": np.float32(0.5), "count": np.int64(3), "bad": float("nan"), "list": np.arange(2)}
        )
        writer.write(jnp.int32(2), "test", {"loss": jnp.float32("inf"), "name": "a\nb", "none": None, "low": -math.inf})
    first, second = (json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines())
    assert list(first) == ["step", "time", "kind", "loss", "count", "bad", "list"]
    assert {**first, "time": 0} == {
        "step": 1, "time": 0, "kind": "train", "loss": 0.5, "count": 3, "bad": "NaN", "list": [0, 1],
    }  # fmt: skip
    assert second["loss"] == "Infinity"
    rows = read_rows(path)
    assert math.isnan(rows[0]["bad"])
    assert rows[1]["loss"] == math.inf
    assert rows[1]["low"] == -math.inf
    assert rows[1]["name"] == "a\nb"


@settings(max_examples=30, deadline=None)
@given(
    values=st.dictionaries(
        st.text().filter(lambda name: name not in ("step", "time", "kind")),
        st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.floats(width=32), max_size=3)),
        max_size=5,
    )
)
def test_any_numbers_come_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("w") / "m.jsonl"
    with JsonlWriter(path) as writer:
        writer.write(7, "train", values)
    json.loads(path.read_text(), parse_constant=refuse)
    (row,) = read_rows(path)
    flat = {name: value for name, value in values.items() if not isinstance(value, list)}
    assert repr({name: row[name] for name in flat}) == repr(flat)


def test_names_of_the_row_itself_are_taken(tmp_path):
    with JsonlWriter(tmp_path / "m") as writer, pytest.raises(ValueError, match="'time'"):
        writer.write(1, "train", {"time": 1.0})


@pytest.mark.parametrize("torn", [b"", b'{"step": 5, "ki', b'{"step": 5}', b"\x00" * 70_000])
def test_resuming_writes_each_step_once(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    with JsonlWriter(path) as writer:
        for step in range(1, 5):
            writer.write(step, "train", {"loss": 1.0 / step})
            writer.write(step, "test", {})
    with open(path, "ab") as file:
        file.write(torn)
    assert len(read_rows(path)) == 8
    with JsonlWriter(path) as writer:
        assert writer.truncate_after(2) == 4
        assert writer.truncate_after(2) == 0
        for step in range(3, 6):
            writer.write(step, "train", {})
            writer.write(step, "test", {})
    seen = [(row["step"], row["kind"]) for row in read_rows(path)]
    assert seen == [(step, kind) for step in range(1, 6) for kind in ("train", "test")]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_what_is_made_again_at_the_last_step_goes_too(tmp_path):
    with JsonlWriter(tmp_path / "m") as writer:
        for step, kind in ((1, "train"), (1, "test"), (2, "train"), (2, "test"), (2, "other"), (3, "train")):
            writer.write(step, kind, {})
        assert writer.truncate_after(2, last="train") == 3
    assert [(row["step"], row["kind"]) for row in read_rows(tmp_path / "m")] == [
        (1, "train"),
        (1, "test"),
        (2, "train"),
    ]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "m"
    path.write_text('{"step": 1}\n{"step": \n{"step": 2}\n')
    with pytest.raises(DataError, match="m, line 2 is not JSON"):
        read_rows(path)
    path.write_text('{"step": 1}\n{"step": "2"}\n')
    with JsonlWriter(path) as writer, pytest.raises(DataError, match="line 2 has no whole number 'step'"):
        writer.truncate_after(1)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WorkdirError, match=r"Cannot write .*nowhere/m: No such file"):
        JsonlWriter(tmp_path / "nowhere" / "m")
    with JsonlWriter("/dev/full") as writer, pytest.raises(WorkdirError, match="/dev/full: No space left"):
        writer.write(1, "train", {})


KILLED = """
import sys
from jaxdl.train.writers import JsonlWriter
writer = JsonlWriter(sys.argv[1])
start = int(sys.argv[2])
writer.truncate_after(start)
for step in range(start + 1, 100_000):
    writer.write(step, "train", {"loss": 1.0})
    print(step, flush=True)
"""


def test_rows_survive_a_kill(tmp_path):
    path = tmp_path / "m.jsonl"
    start = 0
    for _ in range(2):
        command = [sys.executable, "-c", KILLED, str(path), str(start)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        told = [int(child.stdout.readline()) for _ in range(50)][-1]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        steps = [row["step"] for row in read_rows(path)]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= told
        start = told - 20


def masked_crc32c(data):
    """CRC-32C bit by bit, masked as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(directory):
    """The events of all files in order of their age, with the framing of TFRecord checked."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,), (crc,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
            body = data[12 : 12 + length]
            assert crc == masked_crc32c(data[:8])
            assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc32c(body),)
            events.append(Event.FromString(body))
            data = data[16 + length :]
    return events


def test_tensorboard_events_can_be_read_back(tmp_path):
    with TensorBoardWriter(tmp_path / "tb") as writer:
        writer.write(10, "train", {"loss": 0.25, "accuracy": np.float32(0.5), "name": "x", "flag": True, "list": [1.0]})
        writer.write(10, "test", {"loss": float("nan")})
        writer.text("config", "seed = 0")
    with TensorBoardWriter(tmp_path / "tb", purge_step=8) as writer:
        writer.write(8, "train", {"loss": jnp.float32(0.125)})
    version, train, test, text, again, purge, resumed = read_events(tmp_path / "tb")
    assert version.file_version == again.file_version == "brain.Event:2"
    assert train.step == 10
    assert {value.tag: value.simple_value for value in train.summary.value} == {
        "train/loss": 0.25,
        "train/accuracy": 0.5,
    }
    assert math.isnan(test.summary.value[0].simple_value)
    assert text.summary.value[0].tensor.string_val[0] == b"seed = 0"
    assert (purge.step, purge.session_log.status) == (8, purge.session_log.START)
    assert (resumed.step, resumed.summary.value[0].simple_value) == (8, 0.125)


def test_tensorboard_never_stops_training(tmp_path, capsys):
    (tmp_path / "file").touch()
    with TensorBoardWriter(tmp_path / "file") as writer:
        writer.write(1, "train", {"loss": 1.0})
        writer.text("config", "x")
        writer.flush()
    assert capsys.readouterr().err.count("Training goes on.") == 1
    with TensorBoardWriter(tmp_path / "tb") as writer:
        writer._records._writer.close()
        writer._records._writer = open("/dev/full", "wb")  # noqa: SIM115
        for step in range(3):
            writer.write(step, "train", {"loss": 1.0})
            writer.flush()
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No space left" in told
