"""Joining the processes of one run: by the cluster that JAX finds, or by explicit flags."""

import argparse
import atexit
import contextlib
import functools
import ipaddress
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, NamedTuple

from jaxdl.cli.rendezvous import meet
from jaxdl.errors import ConfigError, JaxdlError, Preempted

_RETRY = 0.5
_LEAVING = 30  # Seconds that a process which has come to its end waits for the others.
_LAST_WORDS = 3  # Seconds in which the others may say what was wrong, before the end of process 0 ends them.
_LOST = re.compile(r"\bgloo\b|heartbeat|coordination service", re.IGNORECASE)  # In JAX's errors about others.


class Place(NamedTuple):
    """One process among the others.

    Attributes:
      coordinator: `HOST:PORT`, where process 0 listens.
      processes: How many there are.
      process: Which this is, from 0.
      devices: The accelerators of this machine that are its own; None for all of them.
    """

    coordinator: str
    processes: int
    process: int
    devices: tuple[int, ...] | None = None


def join(options: argparse.Namespace) -> None:
    """Joins the other processes, if the flags say that there are any; call it before any device is touched.

    The coordinator, process 0, listens on the address that the others call it by and on no other, or on that of the
    variable JAX_COORDINATOR_BIND_ADDRESS.

    Raises:
      ConfigError: the flags contradict one another, or no cluster was found.
      JaxdlError: the processes did not come together in time.
    """
    place = _asked(options)
    if place is None:
        return
    deadline = time.monotonic() + options.join_seconds
    own = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or place.coordinator  # Only for who cannot bind the other.
    address = _address(own if place.process == 0 else place.coordinator, deadline)
    if place.processes > 1:
        meet(address, place.process, place.processes, options.join_seconds, deadline)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _gloo_listens_at(_own_address(address))
    host, port = address
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            place.devices,
            cluster_detection_method="deactivate",  # It was found already, or is not to be asked.
            initialization_timeout=options.join_seconds,
            heartbeat_timeout_seconds=options.heartbeat_seconds,
            shutdown_timeout_seconds=_LEAVING,
            coordinator_bind_address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        )
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise JaxdlError(f"The processes met at {place.coordinator}, but could not begin together: {first}.") from error


def _own_address(coordinator: tuple[str, int]) -> str:
    """The address of this machine on the way to the coordinator; nothing is sent."""
    family = socket.AF_INET6 if ":" in coordinator[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect(coordinator)
        return str(way.getsockname()[0])


def _gloo_listens_at(host: str) -> None:
    """Lets the collectives of CPUs listen at an address, instead of at whatever this machine's name stands for."""
    from jaxlib import _jax  # JAX passes no address on, and has no setting for it.

    _jax.make_gloo_tcp_collectives = functools.partial(_jax.make_gloo_tcp_collectives, hostname=host)


def join_nobody() -> None:
    """Lets one process compile for more virtual devices than the 2,048 that XLA gives a process of the CPU backend."""
    import jax

    address = f"127.0.0.1:{free_port()}"
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _gloo_listens_at("127.0.0.1")
    jax.distributed.initialize(address, 1, 0, coordinator_bind_address=address, cluster_detection_method="deactivate")


def find(seconds: int) -> Place | None:
    """The place of this process in the TPU pod, SLURM step, Open MPI or Kubernetes job that JAX finds, where it does.

    Args:
      seconds: How long to wait for the name of the coordinator to be known.

    Raises:
      ConfigError: a cluster is there, but does not say what it should.
    """
    # Not public, but there is no other way to learn the coordinator's address before it listens on all of them.
    from jax._src.clusters import ClusterEnv

    given = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(given, None, None, None, None, seconds)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ConfigError(
            f"--distributed cannot read what the cluster says: {type(error).__name__}: {error}."
        ) from error
    coordinator, processes, process, devices = found
    if coordinator is None or processes is None or process is None:
        return None
    return Place(coordinator, processes, process, None if devices is None else tuple(devices))


def _asked(options: argparse.Namespace) -> Place | None:
    """What the flags say of this process; None where it is alone."""
    coordinator, processes, process = explicit = (options.coordinator, options.processes, options.process)
    if options.distributed and explicit != (None, None, None):
        raise ConfigError("--distributed finds the processes by itself: leave out --coordinator and the like.")
    if options.distributed:
        place = find(options.join_seconds)
        if place is None:
            raise ConfigError(
                "--distributed found no TPU pod, SLURM step (srun), Open MPI or Kubernetes job around this process; "
                "see jaxdl doctor. Give --coordinator HOST:PORT, --processes N and --process I instead."
            )
        return place
    if explicit == (None, None, None):
        return None
    if None in explicit:
        raise ConfigError("Give --coordinator HOST:PORT, --processes N and --process I together.")
    if not 0 <= process < processes:
        raise ConfigError(f"--process must be from 0 to {processes - 1}, not {process}.")
    return Place(coordinator, processes, process)


def _address(coordinator: str, deadline: float) -> tuple[str, int]:
    """The IP address and port of `HOST:PORT`; the name may still be on its way into the name service."""
    host, colon, port = coordinator.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator must be HOST:PORT, not {coordinator!r}.")
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        pass
    while True:
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
            return str(found[0][4][0]), int(port)
        except (OSError, UnicodeError) as error:
            if isinstance(error, UnicodeError) or time.monotonic() > deadline:
                raise ConfigError(f"--coordinator: the name {host!r} has no address: {error}.") from error
        time.sleep(_RETRY)


@contextlib.contextmanager
def told_when_lost() -> Iterator[None]:
    """Turns JAX's error about a process that is gone into one that says so.

    Raises:
      JaxdlError: another process of the run was lost.
    """
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not _LOST.search(str(error)):
            raise
        first = str(error).splitlines()[0]
        raise JaxdlError(
            f"Another process of the run was lost: {first}. What it printed says why; run the same command again to go "
            "on from the last checkpoint."
        ) from error


@contextlib.contextmanager
def leaving_with_an_error() -> Iterator[None]:
    """Lets a process that ends with an error end alone, as the others need not end with it.

    JAX waits for them at the end of the interpreter, though they wait for this one, and aborts when they do not come.
    Once this one is gone, they learn it.
    """
    with contextlib.ExitStack() as stack:
        stack.push(_leave_alone)
        yield


def _leave_alone(
    kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> Literal[False]:
    """Has the end of the interpreter, when the error was told, end this process and nothing else."""
    if error is None or isinstance(error, Preempted) or "jax" not in sys.modules:  # Those come to all of them.
        return False
    import jax
    from jax._src import distributed  # There is no public way to end without the others.

    joined = distributed.global_state
    if jax.distributed.is_initialized():
        code = error.exit_code if isinstance(error, JaxdlError) else 1
        seconds = _LAST_WORDS if jax.process_index() == 0 else 0
        atexit.register(_vanish, code, seconds, (joined.client, joined.service))
        joined.client = joined.service = None
    return False


def _vanish(code: int, seconds: int, kept: object) -> None:
    """Does what else is to be done at the end; what is `kept` is never deleted, which would wait for the others."""
    atexit.unregister(_vanish)
    atexit._run_exitfuncs()
    time.sleep(seconds)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
