"""Joining the processes of one run: by the cluster that JAX finds, or by explicit flags."""

import argparse
import ipaddress
import socket

from jaxdl.errors import ConfigError, JaxdlError


def join(options: argparse.Namespace) -> None:
    """Joins the other processes, if the flags say that there are any; call it before any device is touched.

    The coordinator, process 0, listens on the address that the others call it by and on no other.

    Raises:
      ConfigError: the flags contradict one another.
      JaxdlError: the processes did not come together in time.
    """
    explicit = (options.coordinator, options.processes, options.process)
    if not options.distributed and explicit == (None, None, None):
        return
    if options.distributed and explicit != (None, None, None):
        raise ConfigError("--distributed finds the processes by itself: leave out --coordinator and the like.")
    if not options.distributed and None in explicit:
        raise ConfigError("Give --coordinator HOST:PORT, --processes N and --process I together.")
    if not options.distributed and not 0 <= options.process < options.processes:
        raise ConfigError(f"--process must be from 0 to {options.processes - 1}, not {options.process}.")
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    where = options.coordinator or "the coordinator"
    bind = _bind(options.coordinator) if options.process == 0 else None
    try:
        if options.distributed:
            jax.distributed.initialize(initialization_timeout=options.join_seconds)
        else:
            jax.distributed.initialize(
                options.coordinator,
                options.processes,
                options.process,
                initialization_timeout=options.join_seconds,
                coordinator_bind_address=bind,
            )
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise JaxdlError(
            f"The processes did not come together at {where} within {options.join_seconds} s: {first}. Look whether "
            "all of them were started with the same --coordinator and --processes, and the address can be reached."
        ) from error


def _bind(coordinator: str) -> str:
    """The address to listen on: the IP address of the name that the others call."""
    host, colon, port = coordinator.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f"--coordinator must be HOST:PORT, not {coordinator!r}.")
    try:
        return f"{ipaddress.ip_address(host.strip('[]'))}:{port}"
    except ValueError:
        pass
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError as error:
        raise ConfigError(f"--coordinator: the name {host!r} has no address: {error}.") from error


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
