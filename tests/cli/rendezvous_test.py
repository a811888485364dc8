"""The processes of a run meet, or learn who is missing."""

import contextlib
import socket
import threading
import time

import pytest

from jaxdl.cli.processes import free_port
from jaxdl.cli.rendezvous import meet
from jaxdl.errors import JaxdlError


def gather(numbers, processes, seconds=2.0, port=None):
    """What each of these processes hears: None where all have come."""
    port = port or free_port()
    heard = {}

    def one(number):
        try:
            heard[number] = meet(("127.0.0.1", port), number, processes, seconds, time.monotonic() + seconds)
        except JaxdlError as error:
            heard[number] = str(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 10)
        assert not thread.is_alive()
    return heard


def test_all_go_on_when_the_last_has_come():
    assert gather(range(5), 5, seconds=20) == dict.fromkeys(range(5))


def test_each_is_told_who_did_not_come():
    began = time.monotonic()
    heard = gather([0, 1, 3], 4)
    assert time.monotonic() - began < 6
    assert set(heard) == {0, 1, 3}
    for message in heard.values():
        assert message.startswith("Process 2 of 4 did not arrive at 127.0.0.1:")
        assert "within 2 s. Look whether it was started" in message


def test_many_are_shortened():
    assert "Processes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 89 more of 100 did" in gather([0], 100, seconds=0.3)[0]


def test_without_process_0_the_others_say_so():
    heard = gather([1, 2], 3, seconds=1)
    for number in (1, 2):
        assert heard[number].startswith(f"Process 0 did not answer process {number} at 127.0.0.1:")


def test_two_of_one_number_and_another_count_are_refused(capsys):
    heard = gather([0, 1, 1], 3, seconds=2)
    assert heard[0].startswith("Process 2 of 3 did not arrive")
    assert "Two processes say that they are process 1" in capsys.readouterr().err
    port = free_port()
    other = {}
    thread = threading.Thread(target=lambda: other.update(gather([1], 5, seconds=2, port=port)))
    thread.start()
    assert "Process 1 of 2 did not arrive" in gather([0], 2, seconds=2, port=port)[0]
    thread.join()
    assert other[1] == "Process 0 was told --processes 2, process 1 --processes 5."


@pytest.mark.parametrize(
    "words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"jaxdl -1 2\n", b"jaxdl 1\n", b"\xff\n", b"x" * 10_000]
)
def test_strangers_change_nothing(words):
    port = free_port()
    heard = {}
    thread = threading.Thread(target=lambda: heard.update(gather([0], 2, seconds=20, port=port)))
    thread.start()
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            stranger = socket.create_connection(("127.0.0.1", port))
            break
        assert time.monotonic() < deadline
    with stranger, contextlib.suppress(OSError):
        stranger.sendall(words)
        assert gather([1], 2, seconds=20, port=port) == {1: None}
    thread.join()
    assert heard == {0: None}


def test_who_came_and_died_is_missed_until_it_comes_again():
    port = free_port()
    heard = {}
    thread = threading.Thread(target=lambda: heard.update(gather([0], 3, seconds=20, port=port)))
    thread.start()
    time.sleep(0.5)
    with socket.create_connection(("127.0.0.1", port)) as died:
        died.sendall(b"jaxdl 1 3\n")
        assert died.recv(20) == b"wait 2\n"
    time.sleep(0.5)
    assert gather([1, 2], 3, seconds=20, port=port) == {1: None, 2: None}
    thread.join()
    assert heard == {0: None}


def test_an_address_that_is_taken_or_not_of_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = gather([0], 2, port=taken.getsockname()[1])[0]
        assert message.startswith("Process 0 cannot listen on 127.0.0.1:")
        assert "set JAX_COORDINATOR_BIND_ADDRESS to the IP:PORT to use" in message
    with pytest.raises(JaxdlError, match=r"cannot listen on 192\.0\.2\.1:8476"):
        meet(("192.0.2.1", 8476), 0, 2, 1, time.monotonic() + 1)


def test_it_listens_on_the_one_address_only():
    port = free_port()
    thread = threading.Thread(target=gather, args=([0], 2, 1.5, port))
    thread.start()
    time.sleep(0.5)
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))  # Loopback too, and answered by who listens on everything.
    thread.join()
