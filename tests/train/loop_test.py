import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.learners import Learner, TrainState
from jaxdl.metrics import Mean
from jaxdl.train import Moment, fit
from jaxdl.train import loop as loop_module
from jaxdl.train.loop import chunks


def counting_learner(calls=None):
    def step(state, batch):
        if calls is not None:
            calls.append(batch)
        return state.replace(step=state.step + 1), {"loss": Mean.of(jnp.asarray(float(batch)))}

    return Learner(init=None, step=step, evaluate=None, predict=None)


def state_at(step):
    return TrainState(step=jnp.asarray(step), key=None, params={}, model_state={}, opt_state=())


def numbers(start, stop):
    return ((n + 1, n) for n in range(start, stop))


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 50), length=st.integers(0, 60), size=st.integers(1, 17),
    intervals=st.lists(st.integers(1, 20), max_size=3),
)  # fmt: skip
def test_chunks_cover_every_step_once_and_cross_no_multiple(start, length, size, intervals):
    found = list(chunks(start, start + length, size, intervals))
    assert [step for first, count in found for step in range(first, first + count)] == list(
        range(start, start + length)
    )
    for first, count in found:
        assert 1 <= count <= size
        assert not any(
            multiple % interval == 0 for interval in intervals for multiple in range(first + 1, first + count)
        )


def test_chunks_are_as_large_as_they_may_be():
    assert list(chunks(3, 20, 4, [10])) == [(3, 4), (7, 3), (10, 4), (14, 4), (18, 2)]


def test_hooks_see_each_step_in_order_and_what_those_before_them_changed():
    seen = []

    def first(moment):
        seen.append(("first", moment.step, dict(moment.results)))
        return moment._replace(results={"x": moment.step}) if moment.step == 2 else None

    def second(moment):
        seen.append(("second", moment.step, dict(moment.results)))

    last = fit(counting_learner(), numbers(0, 3), state_at(0), hooks=[first, second])
    names = [("first", 1, {}), ("second", 1, {}), ("first", 2, {}), ("second", 2, {"x": 2})]
    assert seen == [*names, ("first", 3, {}), ("second", 3, {})]
    assert last.step == 3
    assert int(last.state.step) == 3
    assert float(last.metrics["loss"].compute()) == 2


def test_stop_ends_after_all_hooks_have_run():
    seen, calls = [], []
    stop = lambda moment: moment._replace(stop="enough") if moment.step == 2 else None  # noqa: E731
    after = lambda moment: seen.append((moment.step, moment.stop))  # noqa: E731
    last = fit(counting_learner(calls), numbers(0, 10), state_at(0), hooks=[stop, after])
    assert seen == [(1, None), (2, "enough")]
    assert (last.step, last.stop, calls) == (2, "enough", [0, 1])


def test_a_hook_may_change_the_state_that_training_goes_on_from():
    jump = lambda moment: moment._replace(state=moment.state.replace(step=moment.state.step + 100))  # noqa: E731
    assert int(fit(counting_learner(), numbers(0, 3), state_at(0), hooks=[jump]).state.step) == 303


def test_without_batches_the_moment_is_that_of_the_state():
    assert fit(counting_learner(), [], state_at(7)) == Moment(step=7, state=state_at(7), metrics={})


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_no_more_calls_are_queued_than_allowed(monkeypatch, in_flight):
    calls, waited, most = [], [], []
    monkeypatch.setattr(loop_module.jax, "block_until_ready", waited.append)
    fit(
        counting_learner(calls),
        numbers(0, 12),
        state_at(0),
        in_flight=in_flight,
        hooks=[lambda moment: most.append(len(calls) - len(waited))],
    )
    assert max(most) == in_flight
    assert [float(metrics["loss"].total) for metrics in waited] == list(range(12 - in_flight))
