import os
import signal
import threading

import pytest

from jaxdl.errors import Preempted
from jaxdl.train import Moment, train
from jaxdl.train.hooks import StopOnSignal
from jaxdl.train.writers import read_rows

MOMENT = Moment(step=1, state=None, metrics={})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_handlers_are_given_back_at_once(number):
    before = signal.getsignal(number)
    with StopOnSignal() as hook:
        assert signal.getsignal(number) != before
        assert hook(MOMENT) is None
        os.kill(os.getpid(), number)
        assert hook.received == number
        assert signal.getsignal(number) == before
        assert hook(MOMENT).stop
        assert hook(MOMENT._replace(stop="other")).stop == "other"
    assert signal.getsignal(number) == before


def test_outside_the_main_thread_it_does_nothing():
    problems = []

    def work():
        try:
            with StopOnSignal() as hook:
                assert hook(MOMENT) is None
        except (ValueError, AssertionError) as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert problems == []


def test_an_interrupted_run_saves_and_goes_on_as_if_nothing_had_been(experiment, tmp_path):
    kill = lambda moment: os.kill(os.getpid(), signal.SIGTERM) if moment.step == 13 else None  # noqa: E731
    with pytest.raises(Preempted, match="interrupted at step 13 and saved") as caught:
        train(experiment(hooks=(kill,)), tmp_path / "halves", quiet=True)
    assert caught.value.exit_code == 75
    halves = train(experiment(), tmp_path / "halves", quiet=True)
    whole = train(experiment(), tmp_path / "whole", quiet=True)
    assert halves.results == whole.results

    def rows(name):
        found = read_rows(tmp_path / name / "metrics.jsonl")
        return [{key: value for key, value in row.items() if not key.startswith("time")} for row in found]

    assert rows("halves") == rows("whole")


def test_without_a_run_folder_the_message_does_not_promise_a_checkpoint(experiment):
    kill = lambda moment: os.kill(os.getpid(), signal.SIGINT) if moment.step == 3 else None  # noqa: E731
    with pytest.raises(Preempted, match=r"interrupted at step 3\."):
        train(experiment(hooks=(kill,)), quiet=True)
