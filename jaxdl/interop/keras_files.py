"""Keras weights: HDF5 with a dataset `layers/<name>/vars/<n>` for each variable, alone or inside a `.keras` archive."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import CheckpointError
from jaxdl.interop.files import KERAS_WEIGHTS, Tensors
from jaxdl.interop.layout import Array

_OF_TRAINING = ("optimizer/", "metrics/")


def read_h5(path: Path, file: Any) -> Tensors:
    """The variables of a `.weights.h5` by the names of their datasets, without those of the optimizer.

    The variables of a layer are numbered in the order in which it made them: of a Dense layer 0 is the kernel
    (in, out) and 1 the bias; of a Conv2D 0 is the kernel (h, w, in, out); of a BatchNormalization gamma, beta, moving
    mean and moving variance. Links to other files are not followed.

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
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path} is no whole HDF5 file: {error}.") from error
    if not datasets:
        raise CheckpointError(f"{path} holds no variables.")
    return Tensors({name: _reader(dataset) for name, dataset in datasets.items()})


def read_keras(path: Path) -> Tensors:
    """The variables of a `.keras` archive; its weights are held in memory whole.

    Raises:
      CheckpointError: as `read_h5`.
    """
    with zipfile.ZipFile(path) as archive:
        return read_h5(path, io.BytesIO(archive.read(KERAS_WEIGHTS)))


def _keep(datasets: dict[str, Any], name: str, item: Any, kind: Any) -> None:
    if isinstance(item, kind) and item.dtype.kind in "fiub" and not name.startswith(_OF_TRAINING):
        datasets[name] = item


def _reader(dataset: Any) -> Callable[[], Array]:
    return lambda: np.asarray(dataset[()])
