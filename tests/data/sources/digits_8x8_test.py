import gzip
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxdl.data.sources import digits, digits_8x8
from jaxdl.errors import DataError


def test_same_images_and_labels_as_scikit_learn():
    source, expected = digits(split="all"), load_digits()
    assert source.arrays["image"].shape == (1797, 8, 8, 1)
    assert source.arrays["image"].dtype == np.uint8
    assert (np.rint(source.arrays["image"][..., 0] / 255 * 16) == expected.images).all()
    assert (source.arrays["label"] == expected.target).all()
    assert source.labels == tuple("0123456789")


def test_split_is_stratified_disjoint_and_complete():
    train, test = digits(split="train"), digits(split="test")
    assert (len(train), len(test)) == (1437, 360)
    shares = np.bincount(test.arrays["label"]) / np.bincount(load_digits().target)
    assert np.abs(shares - 0.2).max() < 0.01
    rows = np.concatenate([train.arrays["image"], test.arrays["image"]]).reshape(1797, -1)
    assert sorted(map(bytes, rows)) == sorted(map(bytes, digits(split="all").arrays["image"].reshape(1797, -1)))


def test_split_never_changes():
    assert digits(split="test").arrays["label"][:12].tolist() == [8, 0, 2, 9, 6, 5, 0, 8, 4, 1, 7, 1]


def test_needs_no_import_of_scikit_learn():
    program = "import sys; from jaxdl.data.sources import digits; digits(); print('sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(digits_8x8.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'jaxdl\[vision\]'"):
        digits()


@pytest.mark.parametrize(
    "content", [b"", gzip.compress(b"1,2,3\n", mtime=0), gzip.compress(b"a\n", mtime=0), b"\x1f\x8b\x08\0\0"]
)
def test_damaged_file_is_named(content, tmp_path, monkeypatch):
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(content)
    monkeypatch.setattr(digits_8x8, "_find", lambda: path)
    with pytest.raises(DataError, match=r"digits\.csv\.gz"):
        digits()


def test_unknown_split():
    with pytest.raises(ValueError, match="validation"):
        digits(split="validation")
