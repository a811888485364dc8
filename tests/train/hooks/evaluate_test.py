import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.learners import TrainState
from jaxdl.metrics import Mean
from jaxdl.train import Moment
from jaxdl.train.hooks import Evaluate, Scheduled


def moment(step):
    state = TrainState(step=step, key=None, params={}, model_state={}, opt_state=())
    return Moment(step=step, state=state, metrics={})


def scheduled(name, every, at_end=True, value=1.0):
    class Fake:
        def evaluate(self, state, batch):
            return {"loss": Mean.of(np.full(2, value)), "confusion": Mean(total=jnp.ones(2), weight=jnp.ones(2))}

    return Scheduled(name=name, learner=Fake(), batches=[{}, {}], every=every, at_end=at_end)


@pytest.mark.parametrize(
    ("every", "at_end", "expected"),
    [(3, True, [3, 6, 9, 10]), (3, False, [3, 6, 9]), (None, True, [10]), (None, False, []), (5, True, [5, 10])],
)
def test_an_evaluation_is_due_when_its_schedule_says(every, at_end, expected):
    rows = []
    judge = Evaluate([scheduled("test", every, at_end)], 10, lambda step, name, values: rows.append((step, name)))
    for step in range(1, 11):
        judge(moment(step))
    assert rows == [(step, "test") for step in expected]


def test_results_of_all_that_is_due_reach_the_moment_and_the_rows():
    rows, order = [], itertools.count()
    spent = []
    judge = Evaluate(
        [scheduled("a", 2, value=1.0), scheduled("b", 4, value=2.0)],
        10,
        lambda *row: rows.append(row),
        before=lambda: rows.append(("before", next(order))),
        spent=spent.append,
    )
    assert judge(moment(1)) is None
    assert judge(moment(2)).results == {"a/loss": 1.0}
    assert judge(moment(4)).results == {"a/loss": 1.0, "b/loss": 2.0}
    assert rows == [
        ("before", 0), (2, "a", {"loss": 1.0}), ("before", 1), (4, "a", {"loss": 1.0}), (4, "b", {"loss": 2.0}),
    ]  # fmt: skip
    assert len(spent) == 2
    assert min(spent) > 0
