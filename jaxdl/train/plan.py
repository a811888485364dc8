"""What a training step would need on devices that are not here: memory, work, communication and time."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxdl import trees
from jaxdl.data import Pipeline
from jaxdl.errors import ConfigError
from jaxdl.inspection.collectives import Collective, collectives
from jaxdl.inspection.flops import flops
from jaxdl.optim import groups
from jaxdl.parallel import abstract_state, batch_sharding, check_batch_size, idle_axes, make_mesh, shard
from jaxdl.train.chips import CHIPS, Chip
from jaxdl.train.experiment import Experiment, assemble
from jaxdl.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A training step on a mesh. Sizes are bytes of one device.

    Attributes:
      mesh: The size of each axis.
      dtype: Of the computation.
      count: The number of parameters, on all devices together.
      parameters: What each device holds of them.
      optimizer: Of the optimizer's state, averages and running statistics.
      gradients: As large as the parameters that train.
      batch: Of the batch.
      temporary: What the compiler plans beside these: activations, and buffers for communication. It is the plan for
        CPUs; compilers for accelerators fuse more and plan less.
      flops: Of the matrix products and convolutions of a step, on all devices together, without rematerialisation.
      collectives: What the devices send each other.
      idle: The axes over which nothing is split, so that their devices do the same work.
      state: The shapes and shardings.
    """

    mesh: dict[str, int]
    dtype: str
    count: int
    parameters: int
    optimizer: int
    gradients: int
    batch: int
    temporary: int
    flops: int
    collectives: tuple[Collective, ...]
    idle: tuple[str, ...]
    state: Any = dataclasses.field(repr=False)

    @property
    def devices(self) -> int:
        """How many there are."""
        return math.prod(self.mesh.values())

    @property
    def memory(self) -> int:
        """All of it."""
        return self.parameters + self.optimizer + self.gradients + self.batch + self.temporary

    def fits(self, chip: Chip) -> bool:
        """Whether a device has that much."""
        return self.memory <= chip.memory

    def compute_seconds(self, chip: Chip) -> float:
        """The least time that a step computes, at the peak of its matrix units."""
        working = math.prod(size for axis, size in self.mesh.items() if axis not in self.idle)
        return self.flops / working / chip.peak(self.dtype)

    def link_seconds(self, chip: Chip) -> float:
        """The least time that a step communicates, over links at their peak."""
        return sum(one.sent for one in self.collectives) / chip.link


def plan(experiment: Experiment) -> Plan:
    """Compiles the step of an experiment for the devices that JAX sees, virtual ones too, and runs nothing.

    Raises:
      ConfigError: the parts of the experiment do not fit together, or do not fit the devices.
    """
    mesh = make_mesh(experiment.mesh)
    if experiment.mapping == "pmap":
        raise ConfigError(
            "What `pmap` compiles cannot be planned: set --config.mapping=jit, which gives the same numbers."
        )
    dtype = np.dtype(experiment.precision.compute).name
    for chip in CHIPS.values():
        chip.peak(dtype)
    batch = _batch(experiment.train, mesh)
    learner = assemble(experiment)
    state = abstract_state(learner, jax.random.key(experiment.seed), batch, mesh, experiment.rules)
    step: Any = shard(learner, state, mesh, experiment.activations).step
    compiled = step.lower(state, batch).compile()
    params = _bytes(state.params)
    once = dataclasses.replace(experiment, remat="none")
    trains = _bytes(groups.partition(state.params, experiment.frozen)[0])
    planned = compiled.memory_analysis()
    talk = collectives(compiled.as_text())
    idle = set(idle_axes(mesh, state.params, batch))
    if mesh.shape["stage"] > 1 and all(one.kind != "collective-permute" for one in talk):
        idle.add("stage")  # Its devices keep parts of the parameters, but no layers run there at the same time.
    return Plan(
        mesh=dict(mesh.shape),
        dtype=dtype,
        count=trees.count(state.params),
        parameters=params,
        optimizer=_bytes(state) - params,
        gradients=trains,
        batch=_bytes(batch),
        temporary=max(0, int(planned.temp_size_in_bytes) - trains),
        flops=flops(assemble(once).step, state, batch),
        collectives=talk,
        idle=tuple(axis for axis in mesh.shape if axis in idle),
        state=state,
    )


def _batch(pipeline: Pipeline, mesh: Mesh) -> Batch:
    """The shapes of a batch with their shardings, by those of one row: batches for many devices are large."""
    check_batch_size(mesh, pipeline.batch_size, what="train")
    row = dataclasses.replace(pipeline, batch_size=1)[0]
    shapes = {name: (pipeline.batch_size, *x.shape[1:]) for name, x in row.items()}
    return {
        name: jax.ShapeDtypeStruct(shapes[name], x.dtype, sharding=batch_sharding(mesh, shapes[name]))
        for name, x in row.items()
    }


def _bytes(tree: Any) -> int:
    """What one device holds of arrays with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
        total += math.prod(shape) * size
    return total
