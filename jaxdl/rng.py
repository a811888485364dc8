"""Random keys by name, so that a new stream of randomness never shifts another."""

import zlib

import jax

from jaxdl.types import Array, Key


def stream(key: Key, name: str, step: Array | int | None = None) -> Key:
    """The key of a named stream, at a step where there is one.

    Args:
      key: The key of the run, from its seed alone.
      name: The stream, such as `"dropout"`.
      step: Scalar int32; the same key, name and step always give the same key.
    """
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key if step is None else jax.random.fold_in(key, step)


def distinct(key: Key, axis_name: str | None) -> Key:
    """A key of its own for each device along a mapped axis; the same key where there is none."""
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))
