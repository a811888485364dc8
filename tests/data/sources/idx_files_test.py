import gzip
import resource
import struct

import numpy as np
import pytest

from jaxdl.data.sources import idx, read_idx
from jaxdl.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 4)).astype(np.uint8)
LABELS = (np.arange(20) % 3).astype(np.uint8)
CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def encode(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[str(array.dtype)], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder, images=None, labels=None, prefix="train", zipped=True, separator="-"):
    for array, name in ((images, f"images{separator}idx3"), (labels, f"labels{separator}idx1")):
        data = array if isinstance(array, bytes) else encode(array)
        path = folder / f"{prefix}-{name}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(data) if zipped else data)
    return str(folder)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("separator", "-.")
def test_reads_both_splits(tmp_path, zipped, separator):
    write(tmp_path, IMAGES, LABELS, "train", zipped, separator)
    write(tmp_path, IMAGES[:4], LABELS[:4], "t10k", zipped, separator)
    source = idx(path=str(tmp_path), split="train")
    assert (source.arrays["image"] == IMAGES[..., None]).all()
    assert source.arrays["label"].dtype == np.int32
    assert (source.arrays["label"] == LABELS).all()
    assert source.labels == ("0", "1", "2")
    assert len(idx(path=str(tmp_path), split="test")) == 4
    assert "train-images" in source.describe(3)


def test_class_names(tmp_path):
    write(tmp_path, IMAGES, LABELS)
    assert idx(path=str(tmp_path), labels=("shirt", "shoe", "bag", "hat")).labels[1] == "shoe"
    with pytest.raises(DataError, match=r"train-labels.*label 2 of example 2 is outside \[0, 2\)"):
        idx(path=str(tmp_path), labels=("shirt", "shoe"))


@pytest.mark.parametrize("dtype", CODES)
def test_every_type_in_the_byte_order_of_the_machine(tmp_path, dtype):
    array = np.array([[1, 2, 100], [3, 4, 5]], dtype)
    (tmp_path / "file").write_bytes(encode(array))
    assert (read_idx(tmp_path / "file") == array).all()
    assert read_idx(tmp_path / "file").dtype == np.dtype(dtype)


@pytest.mark.parametrize("zipped", [False, True])
def test_any_truncation_is_refused(tmp_path, zipped):
    data = gzip.compress(encode(LABELS)) if zipped else encode(LABELS)
    for length in range(len(data)):
        (tmp_path / "file").write_bytes(data[:length])
        with pytest.raises(DataError, match="file"):
            read_idx(tmp_path / "file")


def test_any_flipped_bit_of_a_gzip_is_refused_or_harmless(tmp_path):
    data, refused = gzip.compress(encode(LABELS)), 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 4
        (tmp_path / "file").write_bytes(damaged)
        try:
            assert (read_idx(tmp_path / "file") == LABELS).all()
        except DataError:
            refused += 1
    assert refused > len(data) // 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no IDX file"),
        (b"\x89PNG\r\n\x1a\n", "no IDX file"),
        (b"\0\0\x07\x01" + bytes(8), "no IDX file"),
        (b"\0\0\x08\x03" + bytes(4), "within its header"),
        (encode(LABELS) + b"!", "declares .*20 bytes, but it holds 21"),
        (gzip.compress(encode(LABELS) + b"!", mtime=0), "holds more"),
        (struct.pack(">BBBB4I", 0, 0, 8, 4, *[2**32 - 1] * 4), "it holds 0"),
    ],
)
def test_what_does_not_fit_its_header(tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("shape", [(2**20, 28, 28), (2**32 - 1,) * 3])
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, shape):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, *shape) + bytes(10**6)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb\.gz.*exhaust memory"):
        read_idx(tmp_path / "bomb.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def test_images_and_labels_must_match(tmp_path):
    with pytest.raises(DataError, match=r"train-images.*20 images.*19 labels"):
        idx(path=write(tmp_path, IMAGES, LABELS[:-1]))
    with pytest.raises(DataError, match=r"train-images.*uint8 \(20,\); expected uint8 with 3 axes"):
        idx(path=write(tmp_path, LABELS, LABELS))
    with pytest.raises(DataError, match=r"train-labels.*int32"):
        idx(path=write(tmp_path, IMAGES, LABELS.astype(np.int32)))
    with pytest.raises(DataError, match="no images"):
        idx(path=write(tmp_path, IMAGES[:0], LABELS[:0]))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte or train-images-idx3-ubyte\.gz in"):
        idx(path=str(tmp_path))
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        idx(path=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="valid"):
        idx(path=str(tmp_path), split="valid")
