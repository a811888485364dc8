import jax.numpy as jnp
import pytest

from jaxdl.learners import TrainState
from jaxdl.metrics import Mean
from jaxdl.optim import optimizer, sgd
from jaxdl.train import Moment
from jaxdl.train.hooks import Log


def moment(step, value, weight=1.0, opt_state=(), **more):
    state = TrainState(step=step, key=None, params={}, model_state={}, opt_state=opt_state)
    mean = Mean(total=jnp.float32(value * weight), weight=jnp.float32(weight))
    return Moment(step=step, state=state, metrics={"loss": mean, **more})


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_rows_are_exact_weighted_means_over_their_windows():
    rows = []
    log = Log(3, lambda step, values: rows.append((step, values["loss"])))
    values, weights = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0], [1, 1, 2, 1, 0, 3]
    for step, (value, weight) in enumerate(zip(values, weights, strict=True), start=1):
        log(moment(step, value, weight))
    log.flush()
    assert rows == [(3, pytest.approx(9 / 4)), (6, pytest.approx(100 / 4))]


def test_what_remains_at_the_last_step_is_a_row_too():
    rows = []
    log = Log(4, lambda step, values: rows.append((step, values["loss"])), last=6)
    for step in range(1, 7):
        log(moment(step, float(step)))
    log.flush()
    assert rows == [(4, 2.5), (6, 5.5)]


def test_arrays_among_the_metrics_are_left_out_of_rows():
    rows = []
    log = Log(1, lambda step, values: rows.append(values))
    log(moment(1, 1.0, per_class=Mean(total=jnp.ones(3), weight=jnp.ones(3))))
    log.flush()
    assert rows == [{"loss": 1.0}]


def test_a_row_is_written_one_window_late_so_that_the_device_does_not_wait():
    rows = []
    log = Log(2, lambda step, values: rows.append(step))
    written = []
    for step in range(1, 8):
        log(moment(step, 1.0))
        written.append(list(rows))
    assert written == [[], [], [], [], [2], [2], [2, 4]]
    log.flush()
    assert rows == [2, 4, 6]


def test_a_window_goes_on_across_a_restart_with_the_same_sums():
    def rows_of(restart_after):
        rows = []
        write = lambda step, values: rows.append((step, values["loss"]))  # noqa: E731
        log = Log(4, write)
        for step in range(1, 9):
            log(moment(step, 0.1 * step, weight=3.0))
            if step == restart_after:
                log.flush()
                saved, log = log.state(), Log(4, write)
                log.restore(saved)
        log.flush()
        return rows

    whole = rows_of(None)
    assert len(whole) == 2
    for step in range(1, 8):
        assert rows_of(step) == whole


def test_a_saved_window_of_other_metrics_is_dropped():
    log = Log(2, lambda step, values: None)
    log(moment(1, 100.0))
    saved = log.state()
    rows = []
    other = Log(2, lambda step, values: rows.append(values))
    other.restore(saved)
    other(moment(2, 1.0, accuracy=Mean.of(jnp.ones(2))))
    other.flush()
    assert rows == [{"loss": 1.0, "accuracy": 1.0}]


def test_steps_per_second_leaves_out_evaluations():
    clock, rows = Clock(), []
    log = Log(2, lambda step, values: rows.append(values["time/steps_per_second"]), clock=clock)
    log.start(0)
    for step in range(1, 7):
        clock.now += 0.5
        log(moment(step, 1.0))
        if step == 2:
            log.flush()
            clock.now += 100.0
            log.skip_time(100.0)
    log.flush()
    assert rows == [2.0, 2.0, 2.0]


def test_speed_of_a_resumed_run_counts_only_its_own_steps():
    clock, rows = Clock(), []
    log = Log(10, lambda step, values: rows.append(values["time/steps_per_second"]), clock=clock)
    log.start(7)
    clock.now += 1.5
    log(moment(10, 1.0))
    log.flush()
    assert rows == [2.0]


def test_the_learning_rate_is_that_of_the_last_step_of_a_window():
    params = {"w": jnp.ones(2)}
    transformation = optimizer(rule=sgd(), learning_rate=lambda step: 1.0 / (1 + step))
    state, rows = transformation.init(params), []
    log = Log(2, lambda step, values: rows.append(values["learning_rate"]))
    for step in range(1, 5):
        _, state = transformation.update({"w": jnp.ones(2)}, state, params)
        log(moment(step, 1.0, opt_state=state))
    log.flush()
    assert rows == pytest.approx([1 / 2, 1 / 4])
