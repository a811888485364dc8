"""One run per folder: a lock that a killed process cannot leave behind."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from types import TracebackType

from jaxdl.checkpoint.commit import make_folder
from jaxdl.errors import WorkdirError

LOCK_NAME = "run.lock"
NAMING = 1.0  # Seconds for the owner to write who it is, once it has the lock.
NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class WorkdirLock:
    """A lock that is held; `release` it, or use it in a `with` statement."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the folder back; again is harmless."""
        if self._descriptor < 0:
            return
        if _same_file(self._descriptor, self.path):
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> "WorkdirLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_workdir(path: str | os.PathLike[str], *, force: bool = False) -> WorkdirLock:
    """Takes the folder for this process, making it where it does not exist.

    The kernel holds the lock for the process, so that it ends with the process, however that ends.

    Args:
      path: The run folder.
      force: Take the folder from a run that still holds it.

    Raises:
      WorkdirError: another run holds the folder (the message says which), or the folder cannot be written.
    """
    folder = Path(path).absolute()
    lock_path = folder / LOCK_NAME
    try:
        make_folder(folder)
        if force:
            lock_path.unlink(missing_ok=True)
        descriptor = _acquire(lock_path)
        if descriptor is not None:
            lock = WorkdirLock(lock_path, descriptor)
            with contextlib.ExitStack() as undo:
                undo.callback(lock.release)  # A full disk refuses the owner's name: nobody holds the folder then.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(_owner()).encode(), 0)
                undo.pop_all()
            return lock
    except OSError as error:
        raise WorkdirError(
            f"Cannot write in {folder}: {error.strerror or error} (as user {os.getuid()}). "
            "Choose another folder with --workdir, or change its permissions."
        ) from error
    raise WorkdirError(_refusal(folder, lock_path))


def _acquire(lock_path: Path) -> int | None:
    """An open descriptor that holds the lock, or None where another process holds it."""
    while True:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        if not _flock(descriptor, lock_path):
            os.close(descriptor)
            return None
        if _same_file(descriptor, lock_path):  # else its last owner removed it between open and flock
            return descriptor
        os.close(descriptor)


def _flock(descriptor: int, lock_path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            os.close(descriptor)
            raise
        owner = _read_owner(lock_path)  # a file system without flock: trust what the file says
        return not owner or not _alive(owner) or owner == _owner()
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _owner() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _process_start(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.argv)[:500],
    }


def _process_start(pid: int) -> str:
    """What tells a process from a later one with the same number; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(owner: dict[str, object]) -> bool:
    """Whether the owner still runs, as far as this host can tell."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or type(pid) is not int or not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return owner.get("started") in ("", _process_start(pid))


def _read_owner(lock_path: Path) -> dict[str, object]:
    try:
        with open(lock_path, "rb") as file:
            owner = json.loads(file.read(4096))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _line(value: object) -> str:
    """What a lock file says, with nothing in it that could move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:500])


def _living_owner(lock_path: Path) -> dict[str, object]:
    """Who holds the lock; the last owner, or none, where it does not say so in time."""
    end = time.monotonic() + NAMING
    while True:
        owner = _read_owner(lock_path)
        if (owner and _alive(owner)) or time.monotonic() > end:
            return owner
        time.sleep(NAMING / 50)


def _refusal(folder: Path, lock_path: Path) -> str:
    owner = _living_owner(lock_path)
    who = "another process"
    if owner:
        pid, host, since, command = (_line(owner.get(name)) for name in ("pid", "host", "since", "command"))
        who = f"process {pid} on {host} since {since} ({command})"
        if not _alive(owner):
            who += "; that process is gone, but a child of it still runs"
    return (
        f"{folder} is in use by {who}. "
        "Wait for it, end it, choose another --workdir, or take the folder over with --force-lock."
    )
