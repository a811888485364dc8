"""Between a tree of live arrays and named arrays of bytes: copying out, comparing, and putting back."""

import zlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import trees
from jaxdl.checkpoint.manifest import NAME, Leaf
from jaxdl.errors import CheckpointError
from jaxdl.types import PyTree

KEY_IMPLEMENTATIONS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
KEY_SHAPES = {"key<fry>": (2,), "key<rbg>": (4,), "key<urbg>": (4,)}
Stored = np.ndarray | jax.Array


def snapshot(state: PyTree) -> tuple[dict[str, Stored], list[Leaf]]:
    """Copies a state out of the devices, so that later steps may reuse (donate) its buffers.

    Returns:
      The bytes to store by leaf name (random keys as their key data), on the host unless other processes hold a part;
      and the table of the leaves, still without digests.

    Raises:
      TypeError: a leaf is no array of numbers.
      ValueError: two leaves share a name, or a name has characters other than letters, digits, `_.+-` and `/`.
    """
    named = [(trees.name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    _check_names([name for name, _ in named])
    table = [describe(name, leaf) for name, leaf in named]
    values = {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in named}
    for value in values.values():
        if isinstance(value, jax.Array) and value.is_fully_addressable:
            value.copy_to_host_async()
    return {name: _copy(value) for name, value in values.items()}, table


def describe(name: str, leaf: Any) -> Leaf:
    """Name, shape and dtype of a leaf: an array, a `jax.ShapeDtypeStruct`, or a Python number."""
    if _is_key(leaf):
        return Leaf(name=name, shape=tuple(leaf.shape), dtype=str(leaf.dtype), crc32=None)
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    dtype = np.dtype(leaf.dtype)
    if dtype.kind not in "biufcV" or dtype.hasobject or dtype.fields is not None:
        raise TypeError(f"A checkpoint holds arrays of numbers; {name!r} is {type(leaf).__name__} of dtype {dtype}.")
    return Leaf(name=name, shape=tuple(leaf.shape), dtype=dtype.name, crc32=None)


def digest(array: Stored) -> int | None:
    """The CRC-32 of an array's bytes; None for an array that is spread over processes."""
    if not isinstance(array, np.ndarray):
        return None
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def place(value: np.ndarray, like: Any) -> Any:
    """The leaf that `like` describes, holding `value`: on its devices, as NumPy array, as key, or as Python number."""
    if not hasattr(like, "dtype"):
        return type(like)(value.item())
    if isinstance(like, np.ndarray | np.generic):
        return value if isinstance(like, np.ndarray) else value[()]
    sharding = like.sharding if not isinstance(like, jax.Array) or like.committed else None
    placed = jax.device_put(value, sharding) if sharding is not None else jnp.asarray(value)
    if _is_key(like):
        return _wrap_key(placed, like)
    if placed.dtype != like.dtype:
        raise CheckpointError(
            f"JAX made {placed.dtype} of a {like.dtype} array; set JAX_ENABLE_X64=1 and run it again."
        )
    return placed


def stored_spec(like: Any) -> jax.ShapeDtypeStruct | None:
    """How one of several processes reads a leaf: by shards where `like` has a sharding, else (None) as NumPy array."""
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return None
    stored = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    return jax.ShapeDtypeStruct(stored.shape, stored.dtype, sharding=sharding)


def place_shards(value: Stored, like: Any) -> Any:
    """As `place`, for what was read by `stored_spec`."""
    if isinstance(value, np.ndarray):
        return place(value, like)
    return _wrap_key(value, like) if _is_key(like) else value


def _wrap_key(data: jax.Array, like: Any) -> jax.Array:
    return jax.random.wrap_key_data(data, impl=KEY_IMPLEMENTATIONS[str(like.dtype)])


def key_shape(dtype: str) -> tuple[int, ...]:
    """The shape of the data of one random key; empty for other dtypes."""
    return KEY_SHAPES.get(dtype, ())


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _copy(value: Any) -> Stored:
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        # Orbax reads each process's shards before its call returns; only on CPUs would it read them in place.
        return jnp.copy(value) if _on_host(value) else value
    if isinstance(value, jax.Array) and not _on_host(value):
        return np.asarray(value)
    return np.array(value, order="C", copy=True)


def _on_host(value: jax.Array) -> bool:
    """Whether a NumPy view of the array may be its own memory."""
    return any(device.platform == "cpu" for device in value.devices()) or "host" in str(value.sharding.memory_kind)


def _check_names(leaf_names: Iterable[str]) -> None:
    seen: set[str] = set()
    parents: set[str] = set()
    for name in leaf_names:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"The state has a leaf named {name!r}; the parts of a name are 1 to 128 letters, digits or '_.+-'."
            )
        if name in seen:
            raise ValueError(f"The state has two leaves named {name!r}.")
        seen.add(name)
        parts = name.split("/")
        parents.update("/".join(parts[:n]) for n in range(1, len(parts)))
    for name in sorted(seen & parents):
        raise ValueError(f"The state has a leaf named {name!r} beside leaves inside {name + '/'!r}.")
