"""The manifest of a checkpoint: what was saved, and the digests that prove it."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jaxdl.errors import CheckpointError

FORMAT = 1
FILE_NAME = "manifest.json"
NAME = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9_.+-]{1,128}(/(?!\.{1,2}(/|$))[A-Za-z0-9_.+-]{1,128})*")


class BadManifest(ValueError):
    """A manifest that is damaged, or not one of ours."""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One array of the state: its name, and what its bytes must be.

    `dtype` is NumPy's name, or `key<...>` for a typed random key. `crc32` covers the stored bytes in C order (the key
    data of a random key); None where no single process held the whole array.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    crc32: int | None


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """The size in bytes and the CRC-32 of one file."""

    size: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that a checkpoint says about itself.

    `files` maps each path inside the checkpoint to its digest; the manifest itself carries its own digest instead.
    """

    step: int
    leaves: tuple[Leaf, ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    format: int = FORMAT


def to_json(manifest: Manifest) -> bytes:
    """The manifest as strict JSON with its own SHA-256."""
    body = asdict(manifest)
    body["metrics"], body["info"] = pack(manifest.metrics), pack(manifest.info)
    text = _canonical(body)
    return f'{{"sha256":"{_sha256(text)}","body":{text}}}\n'.encode()


def from_json(data: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
      BadManifest: it is damaged.
      CheckpointError: it is intact, but of a format that this version does not know.
    """
    try:
        document = json.loads(data)
        body = document["body"]
        intact = to_json_digest(body) == document["sha256"] and set(document) == {"body", "sha256"}
        if not intact:
            raise BadManifest("its own digest does not match its text")
        if body["format"] != FORMAT:
            raise CheckpointError(
                f"The checkpoint of step {body['step']} has format {body['format']!r}, and this version of jaxdl reads "
                f"format {FORMAT}. Use the version that wrote it: {body['versions']}."
            )
        return _parse(body)
    except (BadManifest, CheckpointError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadManifest(f"it is not readable ({type(error).__name__}: {error})") from error


def to_json_digest(body: Any) -> str:
    """The SHA-256 of the canonical text of a manifest's body."""
    return _sha256(_canonical(body))


def pack(value: Any) -> Any:
    """A value as strict JSON has it: a float that is not finite becomes `{"float": "nan"}` (or "inf", "-inf").

    Raises:
      TypeError: JSON has no such value.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(float(value))}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value) or value.keys() == {"float"}:
            raise TypeError(
                f"info has a dict with keys {list(value)[:5]}; they must be strings (and not 'float' alone)."
            )
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"info has {value!r} of {type(value).__name__}; JSON has dicts, lists, numbers, strings, booleans and None."
    )


def unpack(value: Any) -> Any:
    """The inverse of `pack`, but for tuples, which stay lists.

    >>> unpack(pack({"a": (1, float("inf"))}))
    {'a': [1, inf]}
    """
    if isinstance(value, dict):
        return (
            float(value["float"]) if value.keys() == {"float"} else {key: unpack(item) for key, item in value.items()}
        )
    return [unpack(item) for item in value] if isinstance(value, list) else value


def _parse(body: dict[str, Any]) -> Manifest:
    leaves = tuple(Leaf(**{**leaf, "shape": tuple(leaf["shape"])}) for leaf in body["leaves"])
    for leaf in leaves:
        if not NAME.fullmatch(leaf.name) or any(type(n) is not int or n < 0 for n in leaf.shape):
            raise BadManifest(f"it names an array {leaf.name!r} of shape {leaf.shape}")
        if not isinstance(leaf.dtype, str) or type(leaf.crc32) not in (int, type(None)):
            raise BadManifest(f"it says {leaf.dtype!r} and {leaf.crc32!r} of the array {leaf.name!r}")
    names = {leaf.name for leaf in leaves}
    if len(names) != len(leaves) or any(
        "/".join(name.split("/")[:n]) in names for name in names for n in range(1, name.count("/") + 1)
    ):
        raise BadManifest("it names an array twice, or inside another")
    files = {path: FileDigest(**digest) for path, digest in body["files"].items()}
    for path, digest in files.items():
        if type(digest.size) is not int or type(digest.crc32) is not int:
            raise BadManifest(f"it says {digest.size!r} and {digest.crc32!r} of the file {path!r}")
    metrics, info, versions = unpack(body["metrics"]), unpack(body["info"]), body["versions"]
    if type(body["step"]) is not int or not all(isinstance(part, dict) for part in (metrics, info, versions)):
        raise BadManifest("its step, metrics, info or versions are of the wrong kind")
    if not all(type(value) in (int, float) for value in metrics.values()):
        raise BadManifest("a metric in it is no number")
    return Manifest(**{**body, "leaves": leaves, "metrics": metrics, "info": info, "files": files})


def _canonical(body: Any) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
