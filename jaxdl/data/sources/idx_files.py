"""IDX files: the format of MNIST, Fashion-MNIST, KMNIST and EMNIST."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from jaxdl.data.sources.arrays import ArraySource
from jaxdl.errors import DataError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PREFIXES = {"train": "train", "test": "t10k"}
_LARGE = 256 * 2**20
_LARGE_RATIO = 100
_MOST_RATIO = 1100  # Deflate cannot do better than 1032.
_MOST_DIMENSIONS = 16


def idx(*, path: str, split: Literal["train", "test"] = "train", labels: tuple[str, ...] = ()) -> ArraySource:
    """A data set of the MNIST family: `image` uint8 (H, W, 1), `label` int32.

    The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each as it is or with `.gz`.

    Args:
      path: The folder.
      split: Which pair of files.
      labels: Class names in the order of their ids; by default "0", "1" and so on.

    Raises:
      DataError: a file is missing, corrupt or not what its header declares; images and labels differ in number; a
        label has no name. The message names the file.
      ValueError: `split` is unknown.
    """
    if split not in _PREFIXES:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    folder = Path(path).expanduser()
    image_file = _find(folder, f"{_PREFIXES[split]}-images", "idx3-ubyte")
    label_file = _find(folder, f"{_PREFIXES[split]}-labels", "idx1-ubyte")
    images, ids = _read_bytes(image_file, 3), _read_bytes(label_file, 1)
    if len(images) != len(ids):
        raise DataError(f"{image_file} holds {len(images)} images, but {label_file} {len(ids)} labels.")
    if not len(ids):
        raise DataError(f"{image_file} holds no images.")
    labels = labels or tuple(str(i) for i in range(int(ids.max()) + 1))
    if ids.max() >= len(labels):
        raise DataError(
            f"{label_file}: label {ids.max()} of example {ids.argmax()} is outside [0, {len(labels)}), "
            f"for there are {len(labels)} class names; give one per class in `labels`."
        )
    arrays = {"image": images[..., None], "label": ids.astype(np.int32)}
    return ArraySource(arrays=arrays, labels=tuple(labels), name=str(image_file))


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in the machine's byte order.

    Nothing is allocated before the header's sizes were held against the size of the file.

    Raises:
      DataError: the file cannot be read, is no IDX file, is longer or shorter than its header declares, or unpacks to
        implausibly much.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _parse(raw, path, size, zipped=False)
            with gzip.GzipFile(fileobj=raw) as file:
                return _parse(file, path, size, zipped=True)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _parse(file: BinaryIO, path: Path, file_size: int, *, zipped: bool) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 0 < magic[3] <= _MOST_DIMENSIONS:
        raise DataError(f"{path} is no IDX file: it begins with {magic!r}.")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise DataError(f"{path} is truncated: it ends within its header.")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    dtype = np.dtype(_TYPES[magic[2]])
    declared = math.prod(shape) * dtype.itemsize
    _check_size(path, shape, declared, file_size - 4 - len(lengths), zipped=zipped)
    if math.prod(max(1, length) for length in shape) * dtype.itemsize >= 2**63:  # Where another length is 0.
        raise DataError(f"{path}: its header declares {shape}, which no array can be.")
    array = np.empty(declared, np.uint8)
    filled = 0
    while filled < declared and (count := file.readinto(memoryview(array)[filled : filled + 2**20])):  # type: ignore
        filled += count
    if filled < declared or file.read(1):
        what = f"only {filled:,}" if filled < declared else "more"
        raise DataError(f"{path}: its header declares {shape}, {declared:,} bytes, but it holds {what}.")
    return array.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _check_size(path: Path, shape: tuple[int, ...], declared: int, present: int, *, zipped: bool) -> None:
    message = f"{path}: its header declares {shape}, {declared:,} bytes, but "
    if not zipped and declared != present:
        raise DataError(f"{message}it holds {present:,}.")
    if zipped and (declared > _MOST_RATIO * present or declared > max(_LARGE, _LARGE_RATIO * present)):
        raise DataError(f"{message}the compressed file has only {present:,}: it is corrupt, or made to exhaust memory.")


def _read_bytes(path: Path, ndim: int) -> np.ndarray:
    array = read_idx(path)
    if array.ndim != ndim or array.dtype != np.uint8:
        raise DataError(f"{path} holds {array.dtype} {array.shape}; expected uint8 with {ndim} axes.")
    return array


def _find(folder: Path, stem: str, ending: str) -> Path:
    names = [f"{stem}{separator}{ending}{suffix}" for separator in "-." for suffix in ("", ".gz")]
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    raise DataError(f"There is no {names[0]} or {names[1]} in {folder}.")
