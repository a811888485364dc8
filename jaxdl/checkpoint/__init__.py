"""Checkpoints that survive a kill, a full disk and a flipped bit: Orbax inside a commit layer."""

from jaxdl.checkpoint.lock import WorkdirLock, lock_workdir
from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.checkpoint.restore import Restored, Skipped, committed_steps, holds_steps, restore_part
from jaxdl.checkpoint.rotation import BestOf
from jaxdl.checkpoint.weights import Weights, read_weights, run_facts

__all__ = [
    "BestOf",
    "Checkpoints",
    "Restored",
    "Skipped",
    "Weights",
    "WorkdirLock",
    "committed_steps",
    "holds_steps",
    "lock_workdir",
    "read_weights",
    "restore_part",
    "run_facts",
]
