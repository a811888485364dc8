"""Folders of image files, one folder per class."""

import dataclasses
import os
import stat
from pathlib import Path

import numpy as np

from jaxdl.data.images import MAX_ENCODED_BYTES
from jaxdl.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageFolder:
    """Image files at `path/CLASS/.../NAME.png`: `image` is the encoded file (bytes), `label` int32.

    Classes and files are in the order of their names. Hidden files and folders do not count. `Decode` makes pixels.

    Attributes:
      path: The folder that holds a folder for each class.
      extensions: Endings of image files, in lower case; files with others do not count.
      labels: The class names, from the folders.
      files: Every image, relative to `path`.
      label_ids: The class of each, int64 (N,).

    Raises:
      DataError: there is no such folder, it holds no class folders, or one of them holds no image.
    """

    path: str
    extensions: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
    labels: tuple[str, ...] = dataclasses.field(init=False, repr=False)
    files: tuple[str, ...] = dataclasses.field(init=False, repr=False)
    label_ids: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        root = Path(self.path).expanduser()
        try:
            labels = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
        except OSError as error:
            raise DataError(f"The image folder {root} cannot be read: {error.strerror}.") from error
        if not labels:
            raise DataError(f"{root} holds no folders; there should be one for each class, with its images inside.")
        found = [_images(root, label, self.extensions) for label in labels]
        for label, files in zip(labels, found, strict=True):
            if not files:
                raise DataError(f"The class folder {root / label} holds no image ({', '.join(self.extensions)}).")
        object.__setattr__(self, "labels", tuple(labels))
        object.__setattr__(self, "files", tuple(file for files in found for file in files))
        object.__setattr__(self, "label_ids", np.repeat(np.arange(len(labels)), [len(files) for files in found]))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, object]:
        path = self.describe(index)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_ENCODED_BYTES:
                raise DataError(f"not a file of at most {MAX_ENCODED_BYTES:,} bytes (it has {status.st_size:,})")
            image = Path(path).read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        return {"image": image, "label": np.int32(self.label_ids[index])}

    def describe(self, index: int) -> str:
        """The path of the file."""
        return os.path.join(os.path.expanduser(self.path), self.files[index])


def _images(root: Path, label: str, extensions: tuple[str, ...]) -> list[str]:
    def fail(error: OSError) -> None:
        raise DataError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error

    files = []
    for folder, subfolders, names in os.walk(root / label, onerror=fail):
        subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
        relative = os.path.relpath(folder, root)
        files += [
            os.path.join(relative, name)
            for name in sorted(names)
            if name[0] != "." and name.lower().endswith(extensions)
        ]
    return files
