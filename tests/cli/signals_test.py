"""SIGTERM outside training."""

import os
import signal
import threading
import time

import pytest

from jaxdl.cli.signals import preempted_by_sigterm
from jaxdl.errors import Preempted


def hit():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)


def test_sigterm_is_an_interruption_and_a_second_one_the_end():
    before = signal.getsignal(signal.SIGTERM)
    with preempted_by_sigterm():
        with pytest.raises(Preempted, match="run the same command"):
            hit()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before
    assert Preempted.exit_code == 75


def test_other_threads_set_no_handler():
    done = []

    def work():
        with preempted_by_sigterm():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]
