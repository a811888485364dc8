"""WAV files (RIFF, little-endian) to samples, within stated bounds."""

import contextlib
import dataclasses
import io
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxdl.errors import DataError

MAX_SECONDS = 3600
MAX_RATE = 768_000
MAX_CHANNELS = 64
_MAX_CHUNKS = 1000
_BLOCK = 2**18
_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
_DTYPES = {
    (_INTEGERS, 8): "u1",
    (_INTEGERS, 16): "<i2",
    (_INTEGERS, 24): "u1",
    (_INTEGERS, 32): "<i4",
    (_FLOATS, 32): "<f4",
    (_FLOATS, 64): "<f8",
}


class Sound(NamedTuple):
    """A recording.

    Attributes:
      samples: One channel, float32 (N,), full scale in [-1, 1].
      rate: Samples a second.
    """

    samples: np.ndarray
    rate: int


@dataclasses.dataclass(frozen=True)
class _Header:
    """What a file says of its sound; `start` is where that begins."""

    kind: int
    channels: int
    rate: int
    bits: int
    start: int = 0
    size: int = 0

    @property
    def block(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def count(self) -> int:
        return self.size // self.block


def read_wav(path: str | Path) -> Sound:
    """The sound of a WAV file, its channels averaged: integers of 8, 16, 24 or 32 bits, or floats of 32 or 64.

    Raises:
      DataError: the file cannot be read, is no such WAV, was cut short, is empty, has a rate of zero or above 768 kHz,
        is longer than an hour, or holds a sample that is not finite; by the name of the file. All but the last is
        found before a sample is read.
    """
    with _opened(path) as (stream, size):
        return _sound(stream, _header(stream, size))


def wav_length(path: str | Path) -> tuple[int, int]:
    """The number of samples of a WAV file and their rate, from its header alone.

    Raises:
      DataError: as `read_wav`, but for what only samples tell.
    """
    with _opened(path) as (stream, size):
        header = _header(stream, size)
        return header.count, header.rate


def decode_wav(data: bytes) -> Sound:
    """As `read_wav`, of the bytes of a file."""
    with _named("The sound"):
        stream = io.BytesIO(data)
        return _sound(stream, _header(stream, len(data)))


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """The bytes of a file, and how many there are."""
    file = Path(path).expanduser()
    with _named(str(file)):
        try:
            status = os.stat(file)
            if not stat.S_ISREG(status.st_mode):
                raise _Unfit("is no file")
            with open(file, "rb") as stream:
                yield stream, status.st_size
        except OSError as error:
            raise _Unfit(f"cannot be read: {error.strerror or error}") from error


class _Unfit(Exception):
    """What is wrong with a file, without its name."""


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except _Unfit as error:
        raise DataError(f"{name} {error}.") from error


def _header(stream: BinaryIO, size: int) -> _Header:
    """Finds where the sound is, in a file of `size` bytes."""
    riff = stream.read(12)
    if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise _Unfit("is empty" if not riff else f"is no WAV file: it begins with {riff[:4]!r}, not b'RIFF'")
    found = None
    for _ in range(_MAX_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            raise _Unfit("was cut short: it has no sound")
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        start = stream.tell()
        if name == b"data":
            return _checked(found, start, length, size)
        if name == b"fmt ":
            found = _format(stream.read(min(length, 40)))
        stream.seek(start + length + length % 2)
    raise _Unfit(f"has no sound in its first {_MAX_CHUNKS} chunks")


def _format(fields: bytes) -> _Header:
    if len(fields) < 16:
        raise _Unfit("was cut short: its format is missing")
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fields[:16])
    if kind == _EXTENSIBLE and len(fields) >= 26:
        kind = struct.unpack("<H", fields[24:26])[0]
    if (kind, bits) not in _DTYPES:
        raise _Unfit(
            f"holds samples of format {kind} with {bits} bits; integers (1) of 8, 16, 24 or 32 bits and floats (3) "
            "of 32 or 64 can be read: convert it, as by `ffmpeg -i IN -c:a pcm_s16le OUT.wav`"
        )
    if not 1 <= rate <= MAX_RATE or not 1 <= channels <= MAX_CHANNELS:
        raise _Unfit(
            f"has {channels} channels of {rate} samples a second; there must be 1 to {MAX_CHANNELS} of 1 to {MAX_RATE}"
        )
    if block != channels * bits // 8:
        raise _Unfit(f"contradicts itself: {channels} channels of {bits} bits are not {block} bytes")
    return _Header(kind=kind, channels=channels, rate=rate, bits=bits)


def _checked(header: _Header | None, start: int, length: int, size: int) -> _Header:
    """The header with the place of the sound, if all of it is there."""
    if header is None:
        raise _Unfit("does not say what its samples are: its sound comes before its format")
    if length > size - start or length % header.block:
        raise _Unfit(f"was cut short: it announces {length:,} bytes of sound, and holds {size - start:,}")
    if not length:
        raise _Unfit("is empty: it holds no samples")
    header = dataclasses.replace(header, start=start, size=length)
    if header.count > MAX_SECONDS * header.rate:
        raise _Unfit(f"is {header.count / header.rate:,.0f} seconds long; the limit is {MAX_SECONDS:,}: cut it up")
    return header


def _sound(stream: BinaryIO, header: _Header) -> Sound:
    samples = np.empty(header.count, np.float32)
    stream.seek(header.start)
    for first in range(0, header.count, _BLOCK):  # A long recording of many channels is never whole in memory.
        part = samples[first : first + _BLOCK]
        data = stream.read(len(part) * header.block)
        if len(data) < len(part) * header.block:
            raise _Unfit("was cut short while it was read")
        with np.errstate(over="ignore", invalid="ignore"):  # What is not finite is refused below.
            part[:] = _scaled(data, header).reshape(-1, header.channels).mean(axis=1)
    if not np.isfinite(samples).all():
        raise _Unfit("holds samples that are not finite")
    return Sound(samples, header.rate)


def _scaled(data: bytes, header: _Header) -> np.ndarray:
    """Samples with full scale at 1, of all channels in turn."""
    values = np.frombuffer(data, _DTYPES[header.kind, header.bits])
    if header.kind == _FLOATS:
        return values
    if header.bits == 8:
        return (values.astype(np.float32) - 128) / 128
    if header.bits == 24:
        wide = np.zeros((len(values) // 3, 4), np.uint8)
        wide[:, 1:] = values.reshape(-1, 3)
        return wide.view("<i4")[:, 0] / np.float32(2**31)
    return values / np.float32(2 ** (header.bits - 1))
