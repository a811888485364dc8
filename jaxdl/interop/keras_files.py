"""Keras weights: HDF5 with a dataset `layers/<name>/vars/<n>` for each variable, alone or inside a `.keras` archive."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import CheckpointError
from jaxdl.interop.files import KERAS_WEIGHTS, Tensors
from jaxdl.interop.layout import Array

_OF_TRAINING = ("optimizer/", "metrics/")
_LARGE = 256 * 2**20
_LARGE_RATIO = 100
# What h5py raises about bytes that HDF5 did not write.
_DAMAGED = (KeyError, MemoryError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError)


def read_h5(path: Path, file: Any) -> Tensors:
    """The variables of a `.weights.h5` by the names of their datasets, without those of the optimizer.

    The variables of a layer are numbered in the order in which it made them: of a Dense layer 0 is the kernel
    (in, out) and 1 the bias; of a Conv2D 0 is the kernel (h, w, in, out); of a BatchNormalization gamma, beta, moving
    mean and moving variance. Links to other files are not followed; variables that are kept in other files are refused.

    Args:
      path: For messages.
      file: The same path, or an open binary file.

    Raises:
      CheckpointError: h5py is not installed, or the file is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(f"{path} is HDF5: install what reads it, `pip install 'jaxdl[keras]'`.") from error
    try:
        opened = h5py.File(file, "r")  # Kept open by the readers.
        datasets: dict[str, Any] = {}
        opened.visititems(lambda name, item: _keep(datasets, name, item, h5py.Dataset))
        for name, dataset in datasets.items():
            _check(path, name, dataset)
    except _DAMAGED as error:
        raise CheckpointError(f"{path} is no whole HDF5 file: {error}.") from error
    if not datasets:
        raise CheckpointError(f"{path} holds no variables.")
    return Tensors({name: _reader(path, name, dataset) for name, dataset in datasets.items()})


def read_keras(path: Path) -> Tensors:
    """The variables of a `.keras` archive; its weights are held in memory whole.

    Raises:
      CheckpointError: as `read_h5`.
    """
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(KERAS_WEIGHTS)
        if entry.file_size > max(_LARGE, _LARGE_RATIO * entry.compress_size):
            raise CheckpointError(_bomb(path, KERAS_WEIGHTS, entry.file_size, entry.compress_size))
        try:
            weights = archive.read(entry)
        except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{path} cannot be unpacked: {error}.") from error
    return read_h5(path, io.BytesIO(weights))


def _check(path: Path, name: str, dataset: Any) -> None:
    """Refuses what would read other files, or take memory for values that are not there."""
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"{path}: the values of {name} are kept in other files, which are not read.")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(_LARGE, _LARGE_RATIO * stored):
        raise CheckpointError(_bomb(path, name, dataset.nbytes, stored))


def _bomb(path: Path, name: str, declared: int, present: int) -> str:
    return (
        f"{path}: {name} declares {declared:,} bytes, but the file has only {present:,} for it: it is damaged, or made "
        "to exhaust memory."
    )


def _keep(datasets: dict[str, Any], name: str, item: Any, kind: Any) -> None:
    if isinstance(item, kind) and item.dtype.kind in "fiub" and not name.startswith(_OF_TRAINING):
        datasets[name] = item


def _reader(path: Path, name: str, dataset: Any) -> Callable[[], Array]:
    def read() -> Array:
        try:
            return np.asarray(dataset[()])
        except _DAMAGED as error:
            raise CheckpointError(f"{path}: {name} cannot be read: {error}.") from error

    return read
