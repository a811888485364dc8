"""Named arrays to and from disk by Orbax, always in its OCDBT format: the only file that knows Orbax."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.checkpoint.leaves import Stored
from jaxdl.trees import flatten, nest

CHUNK_BYTES = 64 << 20  # chunks are compressed and read in parallel


def start_write(folder: Path, arrays: Mapping[str, Stored]) -> Callable[[], None]:
    """Prepares to write arrays into a folder that Orbax makes; the returned function ends when all is written.

    With several processes all call this together. Then the barriers and the copies out of the devices happen here, in
    the caller's thread, in the same order on every process, and the returned function may run in any thread.
    """
    tree = nest(arrays)
    if jax.process_count() == 1:
        return lambda: _write(folder, tree)
    import orbax.checkpoint as ocp

    writer = ocp.AsyncCheckpointer(_handler())
    writer.save(folder, args=_save_args(tree))

    def finish() -> None:
        writer.wait_until_finished()
        writer.close()

    return finish


def read(folder: Path, like: Mapping[str, Any], *, partial: bool = False) -> dict[str, Stored]:
    """Reads arrays by name.

    Args:
      folder: What `start_write` made.
      like: For each name, a `jax.ShapeDtypeStruct` with the sharding to read into, or None for a NumPy array.
      partial: Whether other names in the folder are left out.
    """
    import orbax.checkpoint as ocp

    restore_args = nest({name: _restore_args(leaf) for name, leaf in like.items()})
    item = nest(dict.fromkeys(like, 0))
    with ocp.Checkpointer(_handler()) as reader:
        args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=partial)
        return flatten(reader.restore(folder, args=args))


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array in a folder, without reading the arrays."""
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(_handler()) as reader:
        tree = reader.metadata(folder).item_metadata.tree
        return {name: tuple(leaf.shape) for name, leaf in flatten(tree).items()}


def version() -> str:
    """Orbax's version."""
    import orbax.checkpoint as ocp

    return str(ocp.__version__)


def _write(folder: Path, tree: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(_handler()) as writer:
        writer.save(folder, args=_save_args(tree))


def _handler() -> Any:
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True)


def _save_args(tree: dict[str, Any]) -> Any:
    import orbax.checkpoint as ocp

    chunks = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES), tree)
    return ocp.args.PyTreeSave(tree, save_args=chunks)


def _restore_args(like: Any) -> Any:
    import orbax.checkpoint as ocp

    if like is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=like.sharding, global_shape=like.shape, dtype=like.dtype)
