"""Named tensors in files: safetensors, PyTorch checkpoints, Keras weights, and what jaxdl itself writes."""

import contextlib
import dataclasses
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxdl.errors import CheckpointError, WorkdirError
from jaxdl.interop.layout import Array

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
KERAS_WEIGHTS = "model.weights.h5"
_HDF5, _ZIP, _PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"
_POINTER = b"version https://git-lfs"
_ADVICE = (
    "Give a .safetensors file, a folder of Hugging Face with config.json, a PyTorch checkpoint, a Keras .weights.h5 or "
    ".keras, or a run folder of jaxdl."
)


class Tensors(Mapping[str, Array]):
    """Tensors that are read when they are looked up, one at a time, so that a large file needs little memory."""

    def __init__(self, readers: Mapping[str, Callable[[], Array]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> Array:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What was found at a path.

    Attributes:
      path: Where.
      tensors: By name; where `ours`, by the names of `jaxdl.trees`, parameters without their collection.
      ours: Whether jaxdl wrote it.
      collections: Where `ours`, the collections that there are, such as `params` and `batch_stats`.
      model: The config of the model, as JSON, where jaxdl wrote it.
      config: The `config.json` of a Hugging Face folder, or what a file of jaxdl remembers of it.
      step: The training step of a run.
    """

    path: Path
    tensors: Mapping[str, Array]
    ours: bool = False
    collections: frozenset[str] = frozenset()
    model: str | None = None
    config: Mapping[str, Any] | None = None
    step: int | None = None


def read(path: str | Path, *, entry: str | None = None) -> Source:
    """Opens a file or folder by what it holds, whatever its name.

    Args:
      path: Safetensors (one file, or a folder with one or with `model.safetensors.index.json`); a PyTorch checkpoint,
        of which only tensors are read (`weights_only`), never code; Keras `.weights.h5` or `.keras`; a run folder or
        an exported file of jaxdl.
      entry: The key of the tensors in a PyTorch checkpoint that holds more, such as `"state_dict"`; by default the
        only dict of tensors in it.

    Raises:
      CheckpointError: it is missing, damaged, or none of these.
    """
    path = Path(path).expanduser()
    try:
        return _read_folder(path, entry) if path.is_dir() else _read_file(path, entry)
    except (OSError, SafetensorError, zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Is it whole? {_ADVICE}") from error


def write(
    path: str | Path,
    tensors: Mapping[str, Array],
    *,
    metadata: Mapping[str, str] = MappingProxyType({"format": "pt"}),
) -> int:
    """Writes one safetensors file, whole or not at all; returns its size in bytes.

    Raises:
      WorkdirError: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    contiguous = {name: np.ascontiguousarray(x).reshape(np.shape(x)) for name, x in tensors.items()}
    try:  # safetensors writes the memory of an array as it lies, in whatever order its axes are.
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, str(temporary), metadata=dict(metadata))
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise WorkdirError(f"{path} cannot be written: {error}.") from error
    return path.stat().st_size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_folder(path: Path, entry: str | None) -> Source:
    if (path / "run.json").is_file():
        from jaxdl.interop.runs import read_run

        return read_run(path)
    config = _json(path / "config.json") if (path / "config.json").is_file() else None
    if (path / INDEX).is_file():
        return Source(path=path, tensors=_sharded(path), config=config)
    found = sorted(path.glob("*.safetensors"))
    preferred = [path / WEIGHTS] if path / WEIGHTS in found else found
    preferred = preferred or [file for file in [path / "pytorch_model.bin"] if file.is_file()]
    if len(preferred) != 1:
        there = ", ".join(sorted(item.name for item in path.iterdir())[:10]) or "nothing"
        raise CheckpointError(f"{path} does not say which of its files holds the weights; it has {there}. {_ADVICE}")
    return dataclasses.replace(_read_file(preferred[0], entry), path=path, config=config)


def _read_file(path: Path, entry: str | None) -> Source:
    with open(path, "rb") as file:
        start = file.read(len(_POINTER))
    # Its header's length comes first, which may begin with the byte that pickles begin with.
    if start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return _read_safetensors(path)
    if start.startswith(_HDF5):
        from jaxdl.interop.keras_files import read_h5

        return Source(path=path, tensors=read_h5(path, path))
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if KERAS_WEIGHTS in names:
            from jaxdl.interop.keras_files import read_keras

            return Source(path=path, tensors=read_keras(path))
    if start.startswith(_PICKLE) or (start.startswith(_ZIP) and any(name.endswith("/data.pkl") for name in names)):
        from jaxdl.interop.torch_files import read_torch

        return Source(path=path, tensors=read_torch(path, entry))
    if start == _POINTER:
        raise CheckpointError(f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`.")
    if len(start) < 9 or start[8:9] != b"{":
        raise CheckpointError(f"{path} is no file of weights that jaxdl knows. {_ADVICE}")
    return _read_safetensors(path)


def _read_safetensors(path: Path) -> Source:
    file, readers = _open(path)
    metadata = file.metadata() or {}
    if "model" in metadata or {"config", "facts"} <= metadata.keys():
        from jaxdl.interop.runs import model_of

        names = {plain(name): reader for name, reader in readers.items()}
        config = _object(path, metadata["huggingface"]) if "huggingface" in metadata else None
        model = metadata["model"] if "model" in metadata else model_of(metadata["config"])
        if "step" in metadata and not metadata["step"].isdecimal():
            raise CheckpointError(f"{path} is damaged: its step is {metadata['step'][:40]!r}.")
        return Source(
            path=path,
            tensors=Tensors(names),
            ours=True,
            collections=collections(readers),
            model=model,
            config=config,
            step=int(metadata["step"]) if "step" in metadata else None,
        )
    return Source(path=path, tensors=Tensors(readers))


def plain(name: str) -> str:
    """The name of a leaf of a state as layouts say it: `params` and `model_state` are left out.

    >>> plain("model_state/batch_stats/norm/mean")
    'batch_stats/norm/mean'
    """
    return name.removeprefix("params/").removeprefix("model_state/")


def collections(names: Iterable[str]) -> frozenset[str]:
    """The collections of the leaves of a state.

    >>> sorted(collections(["params/a", "model_state/batch_stats/a"]))
    ['batch_stats', 'params']
    """
    return frozenset(name.removeprefix("model_state/").split("/")[0] for name in names)


def _open(path: Path) -> tuple[Any, dict[str, Callable[[], Array]]]:
    file = safe_open(path, framework="numpy")  # Mapped into memory; the readers keep it open.
    return file, {name: _reader(file, name) for name in file.keys()}  # noqa: SIM118


def _reader(file: Any, name: str) -> Callable[[], Array]:
    return lambda: file.get_tensor(name)


def _sharded(path: Path) -> Tensors:
    index = _json(path / INDEX)
    where = index["weight_map"] if "weight_map" in index else None
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(f"{path / INDEX} has no weight_map from tensors to files.")
    shards = {}
    for name in sorted(set(where.values())):
        if Path(name).name != name or not (path / name).is_file():
            raise CheckpointError(f"{path / INDEX} names the file {name!r}, which is not in {path}: fetch it too.")
        shards[name] = _open(path / name)[1]
    if missing := [tensor for tensor, name in where.items() if tensor not in shards[name]]:
        raise CheckpointError(f"{path / INDEX} promises {missing[0]} in {where[missing[0]]}, which does not have it.")
    return Tensors({tensor: shards[name][tensor] for tensor, name in where.items()})


def _json(path: Path) -> dict[str, Any]:
    try:
        return _object(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds {type(value).__name__}, not an object.")
    return value
