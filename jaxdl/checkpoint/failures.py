"""A failed save in words: what happened, where, what is safe, and what to do."""

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path


def describe_failure(
    directory: Path, step: int, *, saved: Sequence[int], num_bytes: int, error: BaseException | None
) -> str:
    """The message for a save that failed, by now or in the background; None is an error of another process."""
    reason = "another process failed" if error is None else f"{type(error).__name__}: {str(error)[:300]}"
    if disk_full(error):
        free = shutil.disk_usage(directory).free
        reason = f"the disk is full: the step needs about {_mebibytes(num_bytes)}, {_mebibytes(free)} are free"
    if step in saved:
        return (
            f"Step {step} is saved in {directory}, but tidying up after it failed: {reason}. "
            f"The saved steps are {list(saved)}; nothing is lost."
        )
    safe = f"the saved steps {list(saved)} are untouched" if saved else "no step has been saved yet"
    return (
        f"Step {step} could not be saved in {directory}: {reason}. What was written of it has been removed; "
        f"{safe}. Make room or check the disk, then run the same command again."
    )


def disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that no space or quota is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left" in str(error) or "Disk quota" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"
