import contextlib
import itertools
import threading
import time

import pytest

from jaxdl.data.prefetch import prefetch


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("workers", [1, 4])
def test_order_is_kept_whatever_takes_longest(workers):
    def fetch(step):
        time.sleep(0.01 * (step % 3 == 0))
        return step

    assert list(prefetch(fetch, 3, 23, depth=4, workers=workers)) == list(range(3, 23))
    assert prefetch_threads() == []


def test_works_ahead_but_no_further_than_depth():
    fetched = []
    with contextlib.closing(prefetch(lambda step: fetched.append(step) or step, 0, depth=3)) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(fetched) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert fetched == [0, 1, 2, 3]
    assert prefetch_threads() == []


def test_one_worker_calls_one_step_after_the_other():
    source = iter(range(100))
    assert list(prefetch(lambda _: next(source), 0, 100, depth=8)) == list(range(100))


def test_error_comes_at_its_step_with_its_traceback():
    def fetch(step):
        if step == 2:
            raise KeyError("step two")
        return step

    items = prefetch(fetch, 0, 5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(KeyError, match="step two") as info:
        next(items)
    assert "fetch" in [entry.name for entry in info.traceback]
    assert prefetch_threads() == []


def test_stopping_early_does_not_hang():
    started = time.monotonic()
    with contextlib.closing(prefetch(lambda step: time.sleep(0.01) or step, 0, depth=50, workers=2)) as items:
        assert list(itertools.islice(items, 3)) == [0, 1, 2]
    assert time.monotonic() - started < 2
    assert prefetch_threads() == []


def test_an_error_of_the_consumer_ends_the_threads():
    def consume():
        with contextlib.closing(prefetch(lambda step: step, 0)) as items:
            for _ in items:
                raise RuntimeError("consumer")

    with pytest.raises(RuntimeError, match="consumer"):
        consume()
    assert prefetch_threads() == []


def test_nothing_to_do():
    assert list(prefetch(lambda step: step, 5, 5)) == []


@pytest.mark.parametrize("arguments", [{"depth": 0}, {"workers": 0}])
def test_refuses_at_once(arguments):
    with pytest.raises(ValueError, match=r">= 1"):
        prefetch(lambda step: step, 0, **arguments)
