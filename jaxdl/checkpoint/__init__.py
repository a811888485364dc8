"""Checkpoints that survive a kill, a full disk and a flipped bit: Orbax inside a commit layer."""

from jaxdl.checkpoint.lock import WorkdirLock, lock_workdir
from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.checkpoint.restore import Restored, Skipped, committed_steps, restore_part
from jaxdl.checkpoint.rotation import BestOf

__all__ = [
    "BestOf",
    "Checkpoints",
    "Restored",
    "Skipped",
    "WorkdirLock",
    "committed_steps",
    "lock_workdir",
    "restore_part",
]
