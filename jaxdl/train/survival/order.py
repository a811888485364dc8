"""Which examples each training step took: a digest of every row of every batch, as the learner gets it."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.types import Batch

Order = dict[tuple[int, int, int], bytes]
"""Four bytes a row, by (number of the step, number of its batch, place of the first row in the global batch)."""
_SHARED = ("count", "data")  # Of a whole chunk of steps, not of a row.


def lines(first: int, count: int, at: int, batch: Batch) -> Iterator[str]:
    """The record of a batch that is taken after `first` steps and feeds `count` of them, one line a step.

    In the data it is the batch of number `at`, or those from there on. Of several processes each records the rows that
    it has. Rows that live on the device are known by their index.
    """
    stacked = "count" in batch
    digests: dict[tuple[int, int], int] = {}
    for name in sorted(batch):
        if name not in _SHARED:
            _update(digests, batch[name], count if stacked else None)
    for number in range(count):
        rows = sorted(row for step, row in digests if step == number)
        values = np.array([digests[number, row] for row in rows], "<u4").tobytes()
        yield f"{first + number + 1} {at + number} {rows[0]} {values.hex()}\n"


def read(path: Path) -> Order:
    """What a file of `lines` says; a last line that a killed process left unfinished is left out."""
    found: Order = {}
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            step, number, row, values = line.split()
            found[int(step), int(number), int(row)] = bytes.fromhex(values)
    return found


def rows_apart(one: bytes, other: bytes) -> list[int]:
    """The rows whose digests differ, or that only one of two records has.

    >>> rows_apart(b"aaaabbbb", b"aaaacccc")
    [1]
    """
    places = range(0, max(len(one), len(other)), 4)
    return [place // 4 for place in places if one[place : place + 4] != other[place : place + 4]]


def _update(digests: dict[tuple[int, int], int], array: Any, count: int | None) -> None:
    """Goes on with the digest of each row by what this array has of it, of one step or the first `count` of many."""
    for begin, values in sorted(_parts(array).items()):
        steps, row = (values[None], begin[0]) if count is None else (values[:count], begin[1])
        for number, rows in enumerate(steps):
            for place, value in enumerate(rows):
                key = (number, row + place)
                data = np.ascontiguousarray(value).tobytes()
                digests[key] = zlib.crc32(data, digests[key] if key in digests else 0)


def _parts(array: Any) -> Mapping[tuple[int, ...], np.ndarray]:
    """The parts of an array that this process holds, once each, by where they begin."""
    if not hasattr(array, "addressable_shards"):
        value = np.asarray(array)
        return {(0,) * value.ndim: value}
    shards = {tuple(part.start or 0 for part in shard.index): shard.data for shard in array.addressable_shards}
    return {begin: np.asarray(data) for begin, data in shards.items()}
