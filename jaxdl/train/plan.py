"""What a training step would need on devices that are not here: memory, work, communication and time."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jaxdl import trees
from jaxdl.inspection.collectives import Collective, collectives
from jaxdl.inspection.flops import flops
from jaxdl.optim import groups
from jaxdl.parallel import batch_sharding
from jaxdl.train.chips import Chip
from jaxdl.train.experiment import Experiment, assemble
from jaxdl.train.program import prepare


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
        return self.flops / self.devices / chip.peak(self.dtype)

    def link_seconds(self, chip: Chip) -> float:
        """The least time that a step communicates, over links at their peak."""
        return sum(one.sent for one in self.collectives) / chip.link


def plan(experiment: Experiment) -> Plan:
    """Compiles the step of an experiment for the devices that JAX sees, virtual ones too, and runs nothing.

    Raises:
      ConfigError: the parts of the experiment do not fit together, or do not fit the devices.
    """
    once = dataclasses.replace(experiment, resident=False, steps_per_dispatch=1, mapping="jit")
    program = prepare(once)
    mesh = program.feed.mesh
    batch = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(mesh, x.shape))
        for name, x in program.sample.items()
    }
    step: Any = program.learner.step
    compiled = step.lower(program.state, batch).compile()
    params = _bytes(program.state.params)
    frozen = dataclasses.replace(once, remat="none")
    trains = _bytes(groups.partition(program.state.params, experiment.frozen)[0])
    planned = compiled.memory_analysis()
    return Plan(
        mesh=dict(mesh.shape),
        dtype=np.dtype(experiment.precision.compute).name,
        count=trees.count(program.state.params),
        parameters=params,
        optimizer=_bytes(program.state) - params,
        gradients=trains,
        batch=_bytes(batch),
        temporary=max(0, int(planned.temp_size_in_bytes) - trains),
        flops=flops(assemble(frozen).step, program.state, program.sample),
        collectives=collectives(compiled.as_text()),
        state=program.state,
    )


def _bytes(tree: Any) -> int:
    """What one device holds of arrays with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
        total += math.prod(shape) * size
    return total
