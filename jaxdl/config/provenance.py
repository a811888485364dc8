"""Where a run came from: versions, code, machine and command, for its run folder."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PACKAGES = ("jaxdl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_TIMEOUT = 10.0


def provenance(
    devices: Sequence[str] = (), *, config_path: str | None = None, argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """What JSON can hold about the origin of a run. The environment is never included.

    Args:
      devices: The devices in words; a config knows none, so the caller lists them.
      config_path: The config file, whose own git revision is noted beside that of the working directory.
      argv: The command line; by default that of this process.
    """
    config_folder = os.path.dirname(os.path.abspath(config_path)) if config_path else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv if argv is None else argv),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git": revision(os.getcwd()),
        "config_git": revision(config_folder) if config_folder else None,
        "platform": platform.platform(),
        "host": platform.node(),
        "devices": [str(device) for device in devices],
    }


def revision(folder: str) -> dict[str, Any] | None:
    """The git revision of a folder and whether it has changes; None outside git, or without git.

    A repository without a commit has the revision None.
    """
    if _git(folder, "rev-parse", "--is-inside-work-tree") != "true":
        return None
    status = _git(folder, "status", "--porcelain")
    return {
        "revision": _git(folder, "rev-parse", "--verify", "--quiet", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def _git(folder: str, *arguments: str) -> str | None:
    """The output of a git command; None when it fails. Neither a lock nor a program of the repository is used."""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", folder, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
