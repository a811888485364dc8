"""The processes of a run meet before JAX starts, so that whoever is missing can be named.

JAX's own start-up ends a process that waits in vain with a stack trace of C++ that names nobody. So each process
first calls at process 0 under the address that JAX will use, and waits for a word from it: one line of ASCII a
message, `jaxdl PROCESS PROCESSES` there and `wait NUMBERS`, `no REASON` or `go` back.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterable

from jaxdl.errors import JaxdlError

_LONGEST = 400  # Bytes of a message.
_PAUSE = 0.2
_CONNECT = 5.0
_HELLO = 2.0  # Seconds that a caller has to say who it is.
_PATIENCE = 10.0  # Seconds before process 0 tells whom it is waiting for.
_SHOWN = 10
_ADVICE = "Look whether it was started, with the same --coordinator and --processes, and can reach that address."


def meet(address: tuple[str, int], process: int, processes: int, seconds: float, deadline: float) -> None:
    """Waits until all processes are here.

    Args:
      address: Of process 0: where it listens, and no wider, or where the others find it.
      process: Which this is.
      processes: How many there are.
      seconds: How long was to be waited in all, for the messages.
      deadline: On the monotonic clock.

    Raises:
      JaxdlError: some did not come in time; the message says which.
    """
    if process == 0:
        _Host(address, processes, seconds, deadline).wait()
    else:
        _call(address, process, processes, seconds, deadline)


class _Host:
    """Process 0: takes the calls, and lets all go on when the last has come."""

    def __init__(self, address: tuple[str, int], processes: int, seconds: float, deadline: float) -> None:
        self.address, self.processes, self.seconds, self.deadline = address, processes, seconds, deadline
        self.here: dict[int, socket.socket] = {}

    def wait(self) -> None:
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        try:
            listener = socket.create_server(self.address, family=family, backlog=min(self.processes, 1024))
        except OSError as error:
            raise JaxdlError(
                f"Process 0 cannot listen on {_shown(self.address)}: {error.strerror}. --coordinator must be an "
                "address of its machine with a free port; else set JAX_COORDINATOR_BIND_ADDRESS to the IP:PORT to use."
            ) from error
        with listener, contextlib.ExitStack() as stack:
            stack.callback(self._leave)
            listener.settimeout(_PAUSE)
            self._gather(listener)
            self._tell("go")

    def _gather(self, listener: socket.socket) -> None:
        told: list[int] | None = None
        began, warned = time.monotonic(), False
        while missing := self._missing():
            now = time.monotonic()
            if now > self.deadline:
                self._give_up(missing)
            if now > began + _PATIENCE and not warned:
                warned = True
                print(f"Waiting for {_named(missing)} of {self.processes} at {_shown(self.address)}.", file=sys.stderr)
            if missing != told:
                self._tell(f"wait {_numbers(missing)}")
                told = missing
            with contextlib.suppress(TimeoutError):
                self._welcome(listener.accept()[0])

    def _missing(self) -> list[int]:
        for number in [number for number, caller in self.here.items() if _is_gone(caller)]:
            self.here.pop(number).close()
        return [number for number in range(1, self.processes) if number not in self.here]

    def _give_up(self, missing: list[int]) -> None:
        reason = (
            f"{_named(missing).capitalize()} of {self.processes} did not arrive at {_shown(self.address)} within "
            f"{self.seconds:g} s. {_ADVICE}"
        )
        self._tell(f"no {reason}")
        raise JaxdlError(reason)

    def _welcome(self, caller: socket.socket) -> None:
        """Writes down who calls; a stranger is sent away."""
        caller.settimeout(_HELLO)
        words = (_line(caller) or "").split()
        if len(words) != 3 or words[0] != "jaxdl" or not all(word.isdecimal() for word in words[1:]):
            caller.close()
            return
        number, processes = int(words[1]), int(words[2])
        reason = None
        if processes != self.processes:
            reason = f"Process 0 was told --processes {self.processes}, process {number} --processes {processes}."
        elif not 0 < number < processes or number in self.here:
            reason = f"Two processes say that they are process {number}: each needs a --process of its own."
        if reason is None:
            self.here[number] = caller
            return
        print(reason, file=sys.stderr)
        with contextlib.suppress(OSError), caller:
            caller.sendall(f"no {reason}\n".encode())

    def _tell(self, message: str) -> None:
        for caller in self.here.values():
            with contextlib.suppress(OSError):  # Whoever left is missed in the next round, or by JAX.
                caller.sendall(f"{message[: _LONGEST - 1]}\n".encode())

    def _leave(self) -> None:
        for caller in self.here.values():
            caller.close()


def _call(address: tuple[str, int], process: int, processes: int, seconds: float, deadline: float) -> None:
    """Calls at process 0 again and again, and waits for its word."""
    last = f"Process 0 did not answer process {process} at {_shown(address)} within {seconds:g} s: nobody listens"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(address, timeout=min(left, _CONNECT)) as host:
                host.settimeout(left + _HELLO)  # Let process 0 give up first.
                host.sendall(f"jaxdl {process} {processes}\n".encode())
                while message := _line(host):
                    kind, _, rest = message.partition(" ")
                    if kind == "go":
                        return
                    if kind == "no":
                        raise JaxdlError(rest)
                    last = f"Process {process} waited {seconds:g} s at {_shown(address)}, in vain for process {rest}"
        except OSError:
            pass
        time.sleep(_PAUSE)
    raise JaxdlError(f"{last}. {_ADVICE}")


def _line(connection: socket.socket) -> str | None:
    """One message; None where there is none, or something else."""
    read = bytearray()
    try:
        while len(read) < _LONGEST:
            byte = connection.recv(1)
            if byte == b"\n":
                return read.decode("ascii")
            if not byte:
                return None
            read += byte
    except (OSError, UnicodeDecodeError):
        pass
    return None


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed; it says nothing more than its name."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_HELLO)


def _numbers(numbers: Iterable[int]) -> str:
    """The numbers, shortened where they are many."""
    numbers = list(numbers)
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more


def _named(numbers: list[int]) -> str:
    return f"process{'es' if len(numbers) > 1 else ''} {_numbers(numbers)}"


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
