import json
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxdl.errors import CheckpointError, WorkdirError
from jaxdl.interop import files


@pytest.fixture
def tensors():
    generator = np.random.default_rng(0)
    return {
        "a.weight": generator.normal(size=(3, 4)).astype(np.float32),
        "a.half": generator.normal(size=(5,)).astype(ml_dtypes.bfloat16),
        "steps": np.asarray(7, np.int64),
    }


def same(found, tensors):
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes()


def test_safetensors_come_back(tmp_path, tensors):
    size = files.write(tmp_path / "x.safetensors", tensors)
    assert size == (tmp_path / "x.safetensors").stat().st_size
    source = files.read(tmp_path / "x.safetensors")
    same(source.tensors, tensors)
    assert not source.ours
    assert source.model is None
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_transposed_arrays_are_written_as_they_read(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    files.write(tmp_path / "x.safetensors", {"x": array})
    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")["x"], array)


def test_only_what_is_looked_up_is_read(tmp_path, tensors, monkeypatch):
    files.write(tmp_path / "x.safetensors", tensors)
    found = files.read(tmp_path / "x.safetensors").tensors
    assert len(found) == 3
    assert found["a.weight"] is not found["a.weight"]


def test_a_sharded_folder_is_one(tmp_path, tensors):
    save_file({"a.weight": tensors["a.weight"]}, tmp_path / "model-1.safetensors")
    rest = {name: tensors[name] for name in ("a.half", "steps")}
    save_file(rest, tmp_path / "model-2.safetensors")
    where = {"a.weight": "model-1.safetensors"} | dict.fromkeys(rest, "model-2.safetensors")
    (tmp_path / files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    source = files.read(tmp_path)
    same(source.tensors, tensors)
    assert source.config == {"model_type": "bert"}


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "model-2.safetensors"}, "not in"),
        ({"a": "../model-1.safetensors"}, "not in"),
        ({"b": "model-1.safetensors"}, "does not have it"),
        ([], "weight_map"),
    ],
)
def test_a_broken_index_is_refused(tmp_path, weight_map, message):
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        save_file({"a": np.zeros(2)}, folder / "model-1.safetensors")
    (inside / files.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        files.read(inside)


def test_a_folder_with_several_files_and_no_index_is_refused(tmp_path):
    for name in ("a", "b"):
        save_file({"a": np.zeros(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors, b\.safetensors"):
        files.read(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "model.safetensors")
    assert list(files.read(tmp_path).tensors) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of weights"),
        (b"hello, this is text", "no file of weights"),
        (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00", "PyTorch checkpoint|more than tensors"),
        (b"PK\x03\x04 cut off", "cannot be read"),
        (b"\x89HDF\r\n\x1a\n cut off", "no whole HDF5"),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00{", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        files.read(path)
    assert str(path) in str(error.value)


def test_a_truncated_file_is_refused(tmp_path, tensors):
    path = tmp_path / "x.safetensors"
    files.write(path, tensors)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"x\.safetensors cannot be read"):
        files.read(path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        files.read(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="it has nothing"):
        files.read(tmp_path)


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match="cannot be written"):
        files.write(tmp_path / "file" / "x.safetensors", {"x": np.zeros(1)})


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def test_a_state_dict(self, tmp_path, tensors):
        state = {
            "a.weight": self.torch.from_numpy(tensors["a.weight"]),
            "a.half": self.torch.from_numpy(tensors["a.half"].astype(np.float32)).bfloat16(),
            "steps": self.torch.tensor(7),
        }
        self.torch.save(state, tmp_path / "x.pt")
        same(files.read(tmp_path / "x.pt").tensors, tensors)

    def test_parameters_and_views(self, tmp_path):
        layer = self.torch.nn.Linear(3, 2)
        self.torch.save({"w": layer.weight, "t": layer.weight.T}, tmp_path / "x.pt")
        found = files.read(tmp_path / "x.pt").tensors
        np.testing.assert_array_equal(found["t"], found["w"].T)

    def test_the_only_dict_of_tensors_is_unwrapped(self, tmp_path):
        state = {"w": self.torch.ones(2)}
        self.torch.save({"state_dict": state, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "x.pt")
        assert list(files.read(tmp_path / "x.pt").tensors) == ["w"]
        self.torch.save({"model": state, "ema": state}, tmp_path / "y.pt")
        with pytest.raises(CheckpointError, match="several dicts"):
            files.read(tmp_path / "y.pt")
        assert list(files.read(tmp_path / "y.pt", entry="ema").tensors) == ["w"]
        with pytest.raises(CheckpointError, match="no dict of tensors named 'emma'"):
            files.read(tmp_path / "y.pt", entry="emma")
        self.torch.save([1, 2], tmp_path / "z.pt")
        with pytest.raises(CheckpointError, match="a list"):
            files.read(tmp_path / "z.pt")

    def test_code_is_never_run(self, tmp_path):
        self.torch.save({"w": self.torch.ones(2), "evil": _Evil(tmp_path / "ran")}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="more than tensors"):
            files.read(tmp_path / "x.pt")
        assert not (tmp_path / "ran").exists()

    def test_a_cut_off_checkpoint_is_refused(self, tmp_path):
        self.torch.save({"w": self.torch.ones(100)}, tmp_path / "x.pt")
        (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:-40])
        with pytest.raises(CheckpointError, match=r"x\.pt cannot be read"):
            files.read(tmp_path / "x.pt")

    def test_without_torch_the_extra_is_named(self, tmp_path, monkeypatch):
        import sys

        self.torch.save({"w": self.torch.ones(2)}, tmp_path / "x.pt")
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(CheckpointError, match=r"jaxdl\[torch\]"):
            files.read(tmp_path / "x.pt")


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


class TestKeras:
    """Files of the structure that Keras documents for `save_weights`: layers/<name>/vars/<n>."""

    @pytest.fixture
    def weights(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        path = tmp_path / "model.weights.h5"
        with h5py.File(path, "w") as file:
            for number, shape in enumerate([(4, 3), (3,)]):
                file[f"layers/dense/vars/{number}"] = np.full(shape, number, np.float32)
                file[f"layers/dense_1/vars/{number}"] = np.full(shape, 2 + number, np.float32)
            file["optimizer/vars/0"] = np.zeros(3)
            file["layers/elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        return path

    def test_variables_have_the_names_of_their_datasets(self, weights):
        found = files.read(weights).tensors
        assert set(found) == {f"layers/{name}/vars/{n}" for name in ("dense", "dense_1") for n in (0, 1)}
        np.testing.assert_array_equal(found["layers/dense_1/vars/0"], np.full((4, 3), 2, np.float32))

    def test_an_archive_holds_the_same(self, weights, tmp_path):
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
            archive.writestr("config.json", "{}")
            archive.write(weights, "model.weights.h5")
        same(files.read(tmp_path / "model.keras").tensors, files.read(weights).tensors)

    def test_without_h5py_the_extra_is_named(self, weights, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(CheckpointError, match=r"jaxdl\[keras\]"):
            files.read(weights)

    def test_a_file_without_variables_is_refused(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        h5py.File(tmp_path / "x.h5", "w").close()
        with pytest.raises(CheckpointError, match="holds no variables"):
            files.read(tmp_path / "x.h5")


@pytest.mark.parametrize("first", range(0, 256, 8))
def test_whatever_byte_a_header_begins_with(tmp_path, first):
    path = tmp_path / "x.safetensors"
    for padding in range(256):
        save_file({"x": np.ones(3, np.float32)}, path, metadata={"model": "{}", "padding": "." * padding})
        if path.read_bytes()[0] == first:
            break
    assert path.read_bytes()[0] == first
    found = files.read(path)
    assert (found.ours, found.model) == (True, "{}")
