"""Meshes of devices from a config, and batches placed on them."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.nn.placement import ROWS
from jaxdl.types import Batch

AXES = ("data", "fsdp", "expert", "stage", "sequence", "tensor")
"""The axes of a mesh, outermost first: the innermost, whose devices talk most, are nearest to one another."""


def make_mesh(axes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of devices, on TPUs laid out as their links are.

    Rows of batches are split over `data`, `fsdp` and `expert`, their second dimension (the tokens of texts) over
    `sequence`, the layers of stacks over `stage`, and parameters over what the rules say. Several slices of TPUs,
    between which the network is slow, are told apart by `data`, whose size must then be a multiple of their number.

    Args:
      axes: The size of each axis of `AXES`, 1 where left out; one may be -1, what is left of the devices.
      devices: The devices to use, all of them by default.

    Raises:
      ConfigError: an unknown axis, or sizes that do not use the devices exactly.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = _sizes(axes, len(devices))
    return Mesh(_arranged(sizes, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _sizes(axes: Mapping[str, int], count: int) -> list[int]:
    if unknown := sorted(set(axes) - set(AXES)):
        raise ConfigError(f"Unknown mesh axes {unknown}; there are {list(AXES)}.")
    sizes = [axes[name] if name in axes else 1 for name in AXES]
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ConfigError(f"Mesh sizes must be positive, at most one of them -1; got {dict(axes)}.")
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and count % fixed == 0:
        sizes[sizes.index(-1)] = count // fixed
    if math.prod(sizes) != count:
        raise ConfigError(
            f"The mesh {dict(axes)} does not use {count} devices exactly: the sizes must multiply to {count}; -1 "
            "stands for what is left."
        )
    return sizes


def _arranged(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    if devices[0].platform != "tpu":
        return np.asarray(devices).reshape(sizes)
    slices = len({device.slice_index if hasattr(device, "slice_index") else 0 for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(sizes, devices)
    if sizes[0] % slices:
        raise ConfigError(f"The size of the mesh axis 'data', {sizes[0]}, must be a multiple of the {slices} slices.")
    between = (slices, *(1 for _ in sizes[1:]))
    return mesh_utils.create_hybrid_device_mesh((sizes[0] // slices, *sizes[1:]), between, devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def row_parts(mesh: Mesh) -> int:
    """The number of parts that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def row_shard(mesh: Mesh) -> tuple[int, int]:
    """Which part of a batch's rows this process makes, and of how many; processes that share rows make the same.

    Raises:
      ConfigError: processes share some of their rows only.
    """
    count = math.prod(mesh.devices.shape[len(ROWS) :])
    owners: dict[int, set[int]] = {}
    for number, device in enumerate(mesh.devices.flat):
        owners.setdefault(device.process_index, set()).add(number // count)
    parts = sorted({tuple(sorted(rows)) for rows in owners.values()})
    flat = [row for part in parts for row in part]
    if flat != list(range(len(flat))) or len({len(part) for part in parts}) > 1:
        raise ConfigError(
            f"The mesh {dict(mesh.shape)} gives processes rows that overlap or do not follow one another: let the "
            "product of `stage`, `sequence` and `tensor` divide the number of devices of a process or be its multiple."
        )
    return parts.index(tuple(sorted(owners[jax.process_index()]))), len(parts)


def batch_sharding(mesh: Mesh, shape: Sequence[int] | None = None, *, stacked: bool = False) -> NamedSharding:
    """Rows split over the devices: arrays (B, ...), or (K, B, ...) when `stacked`.

    Of an array of a known `shape` the dimension behind the rows is split over `sequence`, where that divides it.
    """
    rows = (None, ROWS) if stacked else (ROWS,)
    length = shape[len(rows)] if shape is not None and len(shape) > len(rows) else 1
    along = ("sequence",) if mesh.shape["sequence"] > 1 and length % mesh.shape["sequence"] == 0 else ()
    return NamedSharding(mesh, P(*rows, *along))


def check_batch_size(mesh: Mesh, batch_size: int, *, what: str) -> None:
    """Raises ConfigError unless the rows of a batch fall evenly on the devices."""
    parts = row_parts(mesh)
    if batch_size % parts:
        near = max(parts, round(batch_size / parts) * parts)
        raise ConfigError(f"{what}: a batch of {batch_size} does not split over {parts} devices; {near} does.")


def place(batch: Batch, mesh: Mesh, *, stacked: bool = False) -> Batch:
    """Puts the rows of this process on its devices, as parts of global arrays: (B, ...), or (K, B, ...)."""
    if jax.process_count() == 1:
        shardings = {name: batch_sharding(mesh, np.shape(x), stacked=stacked) for name, x in batch.items()}
        return jax.device_put(dict(batch), shardings)
    _, parts = row_shard(mesh)
    axis = int(stacked)
    placed = {}
    for name, x in batch.items():
        shape = (*x.shape[:axis], x.shape[axis] * parts, *x.shape[axis + 1 :])
        sharding = batch_sharding(mesh, shape, stacked=stacked)
        placed[name] = jax.make_array_from_process_local_data(sharding, x, shape)
    return placed
