"""The handwritten digits that scikit-learn carries: real images without a download."""

import gzip
import importlib.util
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from jaxdl.data.permutation import permute
from jaxdl.data.sources.arrays import ArraySource
from jaxdl.errors import DataError

_ROWS = 1797
_TEST_EVERY = 5


def digits(*, split: Literal["train", "test", "all"] = "train") -> ArraySource:
    """Handwritten digits: `image` uint8 (8, 8, 1) in 0..255, `label` int32; classes "0" to "9".

    These are 1,797 images of the UCI set of Alpaydin and Kaynak (1998), whose 17 gray levels are stretched to 0..255.
    The split is fixed and stratified: of the images sorted by class, shuffled within each, every fifth is in `test`
    (360, of each class 35 to 37) and the others are in `train` (1,437).

    Raises:
      DataError: scikit-learn is not installed, or its file is not as expected.
      ValueError: `split` is unknown.
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"split must be 'train', 'test' or 'all', not {split!r}.")
    table = _read(_find())
    order = np.lexsort((permute(np.arange(_ROWS), _ROWS, (1998,)), table[:, -1]))
    is_test = np.zeros(_ROWS, bool)
    is_test[order[::_TEST_EVERY]] = True
    rows = {"train": table[~is_test], "test": table[is_test], "all": table}[split]
    images: np.ndarray = np.rint(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    arrays = {"image": images, "label": rows[:, 64].astype(np.int32)}
    return ArraySource(arrays=arrays, labels=tuple("0123456789"), name=f"digits {split}")


def _find() -> Path:
    """The data file, found without importing scikit-learn, which takes a second."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("The digits come with scikit-learn: pip install 'jaxdl[vision]'.")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _read(path: Path) -> np.ndarray:
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.array([line.split(",") for line in file], np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); reinstall scikit-learn.") from error
    if table.shape != (_ROWS, 65) or table.min() < 0 or table[:, :64].max() > 16 or table[:, 64].max() > 9:
        raise DataError(f"{path} does not hold the 1,797 digits that jaxdl knows; reinstall scikit-learn.")
    return table
