import os
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Pipeline, once
from jaxdl.data.sources import ImageFolder
from jaxdl.data.transforms import Decode
from jaxdl.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Six images of 4 x 4 pixels in classes `cat`, `dog` and `eel`; image n is n everywhere."""
    names = ("dog/b.png", "dog/a.PNG", "cat/deep/c.jpg", "cat/z.jpeg", "eel/10.bmp", "eel/9.bmp")
    for n, name in enumerate(names):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (n, n, n)).save(path)
    for name in ("dog/notes.txt", "dog/._a.png", ".cache/x.png", "readme.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not an image")
    return tmp_path / "images"


def test_classes_and_files_in_order(folder):
    source = ImageFolder(path=str(folder))
    assert source.labels == ("cat", "dog", "eel")
    names = [os.path.relpath(source.describe(i), folder) for i in range(len(source))]
    assert names == ["cat/z.jpeg", "cat/deep/c.jpg", "dog/a.PNG", "dog/b.png", "eel/10.bmp", "eel/9.bmp"]
    (batch,) = once(Pipeline(source=source, batch_size=6, transforms=(Decode(),)))
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert batch["label"].dtype == np.int32
    assert np.abs(batch["image"][:, 0, 0, 0].astype(int) - [3, 2, 1, 0, 4, 5]).max() <= 1


def test_extensions(folder):
    assert len(ImageFolder(path=str(folder / "dog" / ".."), extensions=(".png", ".jpg", ".bmp"))) == 5


def test_damaged_images_are_named_or_skipped(folder):
    (folder / "dog" / "a.PNG").write_bytes(b"")
    (folder / "eel" / "9.bmp").write_bytes((folder / "cat" / "z.jpeg").read_bytes()[:-40])
    (folder / "eel" / "10.bmp").write_bytes((folder / "dog" / "b.png").read_bytes())  # An image under a wrong ending.
    source = ImageFolder(path=str(folder))
    with pytest.raises(DataError, match=r"dog/a\.PNG: the image is empty.*1 more of the 6"):
        list(once(Pipeline(source=source, batch_size=6, transforms=(Decode(),))))
    (batch,) = once(Pipeline(source=source, batch_size=6, transforms=(Decode(),), on_bad="skip"))
    assert batch["mask"].tolist() == [1, 1, 0, 1, 1, 0]


def test_a_file_that_went_away_is_named(folder):
    source = ImageFolder(path=str(folder))
    os.remove(source.describe(3))
    with pytest.raises(DataError, match=r"dog/b\.png cannot be read: No such file"):
        source[3]


def test_a_pipe_does_not_block(folder):
    os.mkfifo(folder / "cat" / "a.png")
    with pytest.raises(DataError, match="not a file"):
        ImageFolder(path=str(folder))[0]


def test_images_of_several_sizes_need_a_resize(folder):
    Image.new("RGB", (5, 4)).save(folder / "dog" / "b.png")
    with pytest.raises(DataError, match=r"dog/b\.png: field 'image' is uint8 \(4, 5, 3\).*Resize"):
        list(once(Pipeline(source=ImageFolder(path=str(folder)), batch_size=6, transforms=(Decode(),))))


def test_refuses_folders_without_images(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"class folder .*images/empty holds no image"):
        ImageFolder(path=str(folder))
    with pytest.raises(DataError, match="images/dog holds no folders"):
        ImageFolder(path=str(folder / "dog"))
    with pytest.raises(DataError, match="nowhere cannot be read: No such file"):
        ImageFolder(path=str(folder / "nowhere"))
    shutil.rmtree(folder)
    folder.write_bytes(b"a file")
    with pytest.raises(DataError, match="Not a directory"):
        ImageFolder(path=str(folder))
