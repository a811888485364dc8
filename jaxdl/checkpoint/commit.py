"""The commit layer around Orbax: what makes a written folder durable, complete and provable.

Orbax writes arrays; it neither flushes every file to the disk nor notices a flipped bit when it reads them back. Here a
folder is sealed (every file flushed, sized and digested in a manifest, which is flushed last) before it gets the name
under which it is found, and it is verified against that manifest before it is read.
"""

import contextlib
import dataclasses
import errno
import os
import shutil
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxdl.checkpoint.manifest import FILE_NAME, BadManifest, FileDigest, Manifest, from_json, to_json

BLOCK = 1 << 22


class Corrupt(ValueError):
    """A folder whose contents are not what its manifest says; the message names the file, expected and got."""


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Flushes a finished folder to the disk, digests its files, and writes its manifest."""
    paths = sorted(_files(folder))
    digests = {str(path.relative_to(folder)): _digest(path, flush=True) for path in paths}
    manifest = dataclasses.replace(manifest, files=digests)
    data = to_json(manifest)
    descriptor = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    for parent, _, _ in os.walk(folder):
        sync_directory(Path(parent))
    return manifest


def publish(folder: Path, name: Path) -> None:
    """Gives a sealed folder its final name, durably: before this call ends it does not exist under that name."""
    os.rename(folder, name)
    sync_directory(name.parent)


def replace(folder: Path, name: Path, aside: Path) -> None:
    """Gives a sealed folder the name of a published one, which is deleted; `put_back` undoes the half of it."""
    os.rename(name, aside)
    try:
        publish(folder, name)
    except OSError:
        with contextlib.suppress(OSError):
            put_back(aside, name)
        raise
    shutil.rmtree(aside)


def put_back(aside: Path, name: Path) -> None:
    """Ends a `replace` that was cut short: the old one comes back where the new one is not there yet."""
    if name.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        publish(aside, name)


def remove(folder: Path, trash: Path) -> None:
    """Deletes a folder that was published: it leaves its name at once, then its files go."""
    if trash.exists():
        shutil.rmtree(trash)
    os.rename(folder, trash)
    sync_directory(trash.parent)
    shutil.rmtree(trash)


def clear(folder: Path, *, calm: float = 0.2, limit: float = 10.0) -> None:
    """Deletes a folder of a failed write, and whatever late writers still put there.

    One array that cannot be written fails the whole, while others are still on their way to the disk.

    Args:
      folder: Need not exist.
      calm: How long it must stay away, in seconds, to count as gone.
      limit: When to give up, in seconds; the next run that opens the directory clears what is left. Where the disk
        refuses to delete at all, it gives up at once.
    """
    end = time.monotonic() + limit
    gone = time.monotonic()
    while time.monotonic() < min(end, gone + calm):
        if os.path.lexists(folder):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass  # Somebody else was faster.
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # Something came while it was emptied.
                    return
            gone = time.monotonic()
        time.sleep(calm / 10)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
      Corrupt: it is missing or damaged.
      OSError: it cannot be read.
    """
    try:
        with open(os.open(folder / FILE_NAME, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return from_json(file.read())
    except (FileNotFoundError, NotADirectoryError):
        raise Corrupt(f"{FILE_NAME} is missing") from None
    except BadManifest as error:
        raise Corrupt(f"{FILE_NAME}: {error}") from error


def verify(folder: Path, *, digests: bool = True) -> Manifest:
    """Checks every file of a folder against its manifest, and returns the manifest.

    Args:
      folder: A published folder.
      digests: Read every byte; without, names and sizes alone are compared.

    Raises:
      Corrupt: a file is missing, unknown, of another size or of other contents, or is not a plain file.
      OSError: the disk could not be read.
    """
    manifest = read_manifest(folder)
    found = {str(path.relative_to(folder)): path for path in _files(folder)}
    found.pop(FILE_NAME, None)
    for name in sorted(manifest.files.keys() - found.keys()):
        raise Corrupt(f"{name} is missing")
    for name in sorted(found.keys() - manifest.files.keys()):
        raise Corrupt(f"{name} does not belong to it")
    for name, expected in manifest.files.items():
        size = os.lstat(found[name]).st_size
        if size != expected.size:
            raise Corrupt(f"{name}: expected {expected.size} bytes, got {size}")
        got = _digest(found[name]).crc32 if digests else expected.crc32
        if got != expected.crc32:
            raise Corrupt(f"{name}: expected CRC-32 {expected.crc32:08x}, got {got:08x}")
    return manifest


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, durably."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_directory(one.parent)


def sync_directory(folder: Path) -> None:
    """Flushes the names inside a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise Corrupt(f"{path.relative_to(folder)} is a link or a special file")
            if stat.S_ISREG(mode):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _digest(path: Path, *, flush: bool = False) -> FileDigest:
    size, crc = 0, 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        if flush:
            os.fsync(file.fileno())
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return FileDigest(size=size, crc32=crc)
