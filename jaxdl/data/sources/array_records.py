"""ArrayRecord files: many examples in one file, with random access."""

import dataclasses
import functools
import glob
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxdl.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArrayRecordSource:
    """The records of some ArrayRecord files; each record is one example in the safetensors format.

    The files are opened at the first use, never in `__init__`, since ArrayRecord's readers do not survive a fork.

    Attributes:
      files: The files, whose records follow each other.
      labels: Class names in the order of their ids.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index}; there are {len(self)}.")
        try:
            return load(self._records[index])
        except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
            raise DataError(f"{self.describe(index)} is corrupt: {error}") from error

    def describe(self, index: int) -> str:
        """The file and the record within it."""
        file = int(np.searchsorted(self._ends, index, side="right"))
        return f"{self.files[file]}, record {index - (self._ends[file - 1] if file else 0)}"

    @functools.cached_property
    def _records(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            return ArrayRecordDataSource(list(self.files))
        except (RuntimeError, ValueError, OSError) as error:
            raise DataError(f"The ArrayRecord files {', '.join(self.files)} cannot be read: {error}.") from error

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([instruction.num_records for instruction in self._records._read_instructions])


def array_record(*, path: str, labels: tuple[str, ...] = ()) -> ArrayRecordSource:
    """The examples in the ArrayRecord files that match a path or glob pattern, in the order of their names.

    `write_array_record` makes such files. A field that is a vector of uint8 may be an encoded image: `Decode` reads it.

    Raises:
      DataError: no file matches, or a file is empty.
    """
    files = sorted(glob.glob(os.path.expanduser(path)))
    if not files:
        raise DataError(f"No file matches {path}.")
    for file in files:
        if not os.path.isfile(file) or os.path.getsize(file) == 0:
            raise DataError(f"{file} is empty or no file.")
    return ArrayRecordSource(files=tuple(files), labels=tuple(labels))


def write_array_record(path: str, examples: Iterable[Mapping[str, Any]]) -> int:
    """Writes examples into one new ArrayRecord file, and returns their number.

    The values are arrays, numbers, or bytes such as an encoded image (read back as a vector of uint8). The file
    appears under its name only when it is complete.

    Raises:
      DataError: a field of an example is neither.
    """
    from array_record.python.array_record_module import ArrayRecordWriter
    from safetensors.numpy import save

    unfinished = f"{path}.unfinished"
    writer = ArrayRecordWriter(unfinished, "group_size:1")
    count = 0
    try:
        for example in examples:
            writer.write(save({name: _array(name, value) for name, value in example.items()}))
            count += 1
    finally:
        writer.close()
    os.replace(unfinished, path)
    return count


def _array(name: str, value: Any) -> np.ndarray:
    array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DataError(f"The field {name!r} is {type(value).__name__}, not numbers or bytes.")
    return np.ascontiguousarray(array).reshape(array.shape)
