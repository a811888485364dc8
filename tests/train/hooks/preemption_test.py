import dataclasses
import itertools
import os
import signal
import threading

import pytest

from jaxdl.errors import Preempted
from jaxdl.optim import adam, optimizer, reduce_on_plateau
from jaxdl.train import EarlyStopping, Moment, Plateau, Saving, train
from jaxdl.train.evaluation import evaluate
from jaxdl.train.hooks import StopOnSignal
from jaxdl.train.survival import compare
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


@pytest.fixture
def signal_in_evaluation(monkeypatch):
    """`at(count)`: SIGTERM comes as the `count`-th batch of evaluations is taken, once."""

    def at(count):
        left = itertools.count(1)

        def counted(learner, state, batches):
            def taken():
                for batch in batches:
                    if next(left) == count:
                        os.kill(os.getpid(), signal.SIGTERM)
                    yield batch

            return evaluate(learner, state, taken())

        monkeypatch.setattr("jaxdl.train.hooks.evaluate.evaluate", counted)

    return at


def twice_evaluated(experiment):
    """Two evaluations every 10 steps, after which hooks change the state; windows of the log do not end with them."""
    evals = {"a": experiment().evals["test"], "b": experiment().evals["test"]}
    evals = {name: dataclasses.replace(one, every=10) for name, one in evals.items()}
    plateau = reduce_on_plateau(factor=0.5, patience=1, threshold=0.99)
    return experiment(
        steps=30,
        evals=evals,
        hooks=(Plateau("b/loss"), Counting(), EarlyStopping("b/accuracy", mode="max", patience=9)),
        optimizer=optimizer(rule=adam(), learning_rate=5e-3, plateau=plateau),
        log_every=7,
        saving=Saving(every=6, keep=1, best="a/loss", mode="min"),
    )


class Counting:
    """Sums what it sees."""

    def __init__(self):
        self.seen = []

    def __call__(self, moment):
        loss = moment.metrics["loss"].compute()
        self.seen.append([moment.step, float(loss), len(moment.results)])

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


@pytest.mark.usefixtures("here_on_one_device")
@pytest.mark.parametrize("count", [1, 2, 4, 6, 10, 12])
def test_a_signal_does_not_wait_for_the_end_of_an_evaluation(experiment, tmp_path, signal_in_evaluation, count):
    train(twice_evaluated(experiment), tmp_path / "whole", quiet=True)
    signal_in_evaluation(count)
    step = 10 * ((count - 1) // 6 + 1)
    with pytest.raises(Preempted, match=f"interrupted at step {step} and saved"):
        train(twice_evaluated(experiment), tmp_path / "cut", quiet=True)
    rows = read_rows(tmp_path / "cut" / "metrics.jsonl")
    whole_evaluations = [row for row in rows if row["kind"] in ("a", "b")]
    assert len(whole_evaluations) == count // 3, "what was under way was left"
    for _ in range(2):  # The second time nothing is left to do.
        train(twice_evaluated(experiment), tmp_path / "cut", quiet=True)
        assert compare.folders(tmp_path / "whole", tmp_path / "cut") is None
        assert compare.logs(*(read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))) is None


def test_a_signal_may_come_again_in_the_evaluation_that_is_taken_up(experiment, tmp_path, signal_in_evaluation):
    train(twice_evaluated(experiment), tmp_path / "whole", quiet=True)
    for count in (2, 5, 1):
        signal_in_evaluation(count)
        with pytest.raises(Preempted, match="interrupted at step 10 and saved"):
            train(twice_evaluated(experiment), tmp_path / "cut", quiet=True)
    train(twice_evaluated(experiment), tmp_path / "cut", quiet=True)
    assert compare.folders(tmp_path / "whole", tmp_path / "cut") is None
    assert compare.logs(*(read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))) is None


def test_without_a_run_folder_the_message_does_not_promise_a_checkpoint(experiment):
    kill = lambda moment: os.kill(os.getpid(), signal.SIGINT) if moment.step == 3 else None  # noqa: E731
    with pytest.raises(Preempted, match=r"interrupted at step 3\."):
        train(experiment(hooks=(kill,)), quiet=True)
