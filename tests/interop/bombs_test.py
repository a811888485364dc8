"""Files of weights that are made to exhaust memory, or to read other files."""

import io
import json
import os
import resource
import struct
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save

from jaxdl.errors import CheckpointError
from jaxdl.interop import files


@pytest.fixture(autouse=True)
def _in_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def keras(path, content, method=zipfile.ZIP_DEFLATED):
    with (
        zipfile.ZipFile(path, "w", method) as archive,
        archive.open(files.KERAS_WEIGHTS, "w", force_zip64=True) as file,
    ):
        for block in content:
            file.write(block)


def test_an_archive_that_unpacks_to_much_more(tmp_path):
    path = tmp_path / "bomb.keras"
    keras(path, (bytes(2**20) for _ in range(300)))
    assert path.stat().st_size < 2**21
    with pytest.raises(CheckpointError, match="declares 314,572,800 bytes, but the file has only"):
        files.read(path)


def test_an_archive_that_says_it_is_small(tmp_path):
    """The size in the directory is a lie: no more than that is unpacked."""
    path = tmp_path / "liar.keras"
    keras(path, [bytes(2**20)])
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: at + 24] + struct.pack("<I", 100) + data[at + 28 :])
    with pytest.raises(CheckpointError):
        files.read(path)


def test_a_variable_of_a_terabyte_that_is_not_there(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(2**19, 2**19), dtype="f4", chunks=(1024, 1024))
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError, match=r"layers/dense/vars/0 declares 1,099,511,627,776 bytes"):
        files.read(path)


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_variables_that_are_kept_in_other_files_are_not_read(tmp_path, kind):
    (tmp_path / "secret").write_bytes(b"1234" * 4)
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        if kind == "external":
            file.create_dataset("layers/a/vars/0", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])
        else:
            layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4,))
            file.create_virtual_dataset("layers/a/vars/0", layout)
    with pytest.raises(CheckpointError, match="kept in other files"):
        files.read(path)


def test_links_to_other_files_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3, np.float32)
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/mine/vars/0"] = np.ones(3, np.float32)
        file["layers/theirs"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    assert list(files.read(path).tensors) == ["layers/mine/vars/0"]


@pytest.mark.parametrize("name", ["../s.safetensors", "/etc/passwd", "..", "a/../../s.safetensors", "", "."])
def test_an_index_cannot_name_files_elsewhere(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "s.safetensors").write_bytes(save({"a": np.zeros(2, np.float32)}))
    (folder / files.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="which is not in"):
        files.read(folder)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"a": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}},  # noqa: E501
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
    ],
    ids=["a terabyte", "no bytes of a huge shape", "a negative size", "a negative place", "one over another", "objects"],  # noqa: E501
)  # fmt: skip
def test_headers_of_safetensors_that_lie(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(CheckpointError):
        list(files.read(tmp_path / "a.safetensors").tensors.values())


def test_a_header_longer_than_the_file(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**40) + b'{"a": 1}')
    with pytest.raises(CheckpointError):
        files.read(tmp_path / "a.safetensors")


def test_a_pickle_that_calls_a_function_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch = pytest.importorskip("torch")
    for name, zipped in (("new.pt", True), ("old.pt", False)):
        buffer = io.BytesIO()
        torch.save({"a": torch.ones(2), "b": Hostile()}, buffer, _use_new_zipfile_serialization=zipped)
        (tmp_path / name).write_bytes(buffer.getvalue())
        with pytest.raises(CheckpointError, match="holds more than tensors"):
            files.read(tmp_path / name)
    assert not (tmp_path / "canary").exists()
