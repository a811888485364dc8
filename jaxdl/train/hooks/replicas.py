"""Whether copies of a parameter on several devices are still the same bits."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxdl import trees
from jaxdl.errors import JaxdlError
from jaxdl.train.loop import Moment
from jaxdl.types import PyTree


class CheckReplicas:
    """Stops with an error where devices that hold the same part of a parameter hold other bits, as after a fault.

    Each device adds up the bits of what it holds and only the sums are compared: one bit that differs is found, and the
    cost is a pass over the parameters. Put it last among the hooks; what it finds is not saved.

    Args:
      every: Steps between checks; a check is made at the first moment at or after each multiple.

    Raises:
      JaxdlError: when called, naming the devices in the minority.
    """

    def __init__(self, every: int = 1000) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}.")
        self.every, self._checked = every, 0

    def __call__(self, moment: Moment) -> None:
        """Compares where a check is due."""
        if moment.step // self.every > self._checked // self.every:
            self._checked = moment.step
            if found := differing(moment.state.params):
                shown = "; ".join(f"{name} on {', '.join(map(_name, odd))}" for name, odd in list(found.items())[:5])
                raise JaxdlError(
                    f"After step {moment.step}, the copies of {len(found)} parameters are not the same bits: {shown}. "
                    "Look into that hardware, then run the same command: it goes on from the last checkpoint."
                )


def _name(device: jax.Device) -> str:
    return str(device) if jax.process_count() == 1 else f"{device} of process {device.process_index}"


def differing(params: PyTree) -> dict[str, list[jax.Device]]:
    """The devices whose copy of a parameter is not that of most others (all of them in a draw), by its name."""
    columns = {device: column for column, device in enumerate(jax.devices())}
    leaves = trees.flatten(params)
    here = {
        (row, columns[shard.device]): _sum_of_bits(shard.data)
        for row, leaf in enumerate(leaves.values())
        for shard in leaf.addressable_shards
    }
    sums = np.zeros((len(leaves), len(columns)), np.uint32)
    for place, total in here.items():
        sums[place] = total
    if jax.process_count() > 1:
        sums = multihost_utils.process_allgather(sums).max(axis=0)  # Each column is zero but on one process.
    found = {}
    for row, (name, leaf) in zip(sums, leaves.items(), strict=True):
        copies: dict[str, dict[jax.Device, int]] = defaultdict(dict)
        for device, part in leaf.sharding.devices_indices_map(leaf.shape).items():
            copies[str(part)][device] = int(row[columns[device]])
        if odd := [device for held in copies.values() for device in _odd(held)]:
            found[name] = odd
    return found


def _odd(held: Mapping[jax.Device, int]) -> list[jax.Device]:
    (usual, most), *others = Counter(held.values()).most_common()
    drawn = bool(others) and others[0][1] == most
    return [device for device, total in held.items() if drawn or total != usual]


@jax.jit
def _sum_of_bits(x: jax.Array) -> jax.Array:
    unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    return jnp.sum(jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32), dtype=jnp.uint32)
