"""Meshes of devices from a config, and batches placed on them."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.types import Batch

AXES = ("data", "fsdp")
"""The axes of a mesh, outermost first. Batches are split over both; parameters over `fsdp`."""


def make_mesh(axes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of devices.

    Args:
      axes: The size of each axis of `AXES`, 1 where left out; one may be -1, what is left of the devices.
      devices: The devices to use, all of them by default.

    Raises:
      ConfigError: an unknown axis, or sizes that do not use the devices exactly.
    """
    devices = jax.devices() if devices is None else list(devices)
    if unknown := sorted(set(axes) - set(AXES)):
        raise ConfigError(f"Unknown mesh axes {unknown}; there are {list(AXES)}.")
    sizes = [axes[name] if name in axes else 1 for name in AXES]
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ConfigError(f"Mesh sizes must be positive, at most one of them -1; got {dict(axes)}.")
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if math.prod(sizes) != len(devices):
        raise ConfigError(
            f"The mesh {dict(axes)} does not use {len(devices)} devices exactly: the sizes must multiply to "
            f"{len(devices)}; -1 stands for what is left."
        )
    return Mesh(np.asarray(devices).reshape(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
    """Rows split over all devices: arrays (B, ...), or (K, B, ...) when `stacked`."""
    return NamedSharding(mesh, P(None, AXES) if stacked else P(AXES))


def check_batch_size(mesh: Mesh, batch_size: int, *, what: str) -> None:
    """Raises ConfigError unless the rows of a batch fall evenly on the devices."""
    if batch_size % mesh.size:
        near = max(mesh.size, round(batch_size / mesh.size) * mesh.size)
        raise ConfigError(f"{what}: a batch of {batch_size} does not split over {mesh.size} devices; {near} does.")


def place(batch: Batch, sharding: NamedSharding) -> Batch:
    """Puts the rows of this process on its devices, as parts of global arrays."""
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), sharding)
    return {name: jax.make_array_from_process_local_data(sharding, x) for name, x in batch.items()}
