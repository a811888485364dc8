import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.errors import NonFiniteError
from jaxdl.learners import TrainState
from jaxdl.metrics import Mean
from jaxdl.train import Moment, Saving, train
from jaxdl.train.hooks import StopNonFinite
from jaxdl.train.hooks.nonfinite import has_failed
from jaxdl.train.writers import read_rows


def moment(run):
    state = TrainState(
        step=jnp.asarray(1), key=None, params={}, model_state={}, opt_state=(),
        extras={"nonfinite": {"run": jnp.asarray(run), "first": jnp.asarray(1)}},
    )  # fmt: skip
    return Moment(step=1, state=state, metrics={"skipped": Mean.of(run > 0)})


@pytest.mark.parametrize(
    ("runs", "stops_at"),
    [([0] * 9, None), ([1, 2, 3, 4, 5, 6], 3), ([1, 2, 0, 1, 2, 0, 0], None), ([3, 4, 5], 3), ([3, 0, 0, 0], None)],
)
def test_it_stops_when_the_run_is_long_enough_and_lasts(runs, stops_at):
    hook = StopNonFinite(3, lag=2)
    stopped = [number for number, run in enumerate(runs, start=1) if hook(moment(run))]
    assert (stopped[0] if stopped else None) == stops_at


def test_states_without_the_guard_are_left_alone():
    hook = StopNonFinite(1, lag=0)
    plain = Moment(step=1, state=TrainState(step=1, key=None, params={}, model_state={}, opt_state=()), metrics={})
    assert hook(plain) is None
    assert not has_failed(plain.state, 1)


@dataclasses.dataclass(frozen=True)
class Poison:
    """Makes the loss NaN in the steps of a range, by the images; it runs on the device as an augmentation."""

    rows: tuple[int, ...] = ()

    def __call__(self, key, batch):
        image = jnp.asarray(batch["image"], jnp.float32) / 255
        bad = jnp.isin(batch["number"], jnp.asarray(self.rows or (-1,))).any()
        return {**batch, "image": jnp.where(bad, jnp.nan, image)}


def poisoned(experiment, *, bad_steps, size, **changes):
    """The digits in their own order, each with its number; some steps hold a poisoned one."""
    arrays = experiment().train.source.arrays
    source = ArraySource(arrays={**arrays, "number": np.arange(len(arrays["label"]))})
    pipeline = Pipeline(source=source, batch_size=32, shuffle=False)
    rows = tuple(32 * (step - 1) for step in bad_steps)
    return experiment(
        steps=40, train=pipeline, augment=Poison(rows), evals={}, steps_per_dispatch=size, saving=Saving(every=16),
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 8])
def test_one_bad_batch_is_left_out_and_counted(experiment, tmp_path, size):
    outcome = train(poisoned(experiment, bad_steps=[13], size=size), tmp_path, quiet=True)
    rows = {row["step"]: row for row in read_rows(tmp_path / "metrics.jsonl")}
    assert {step: row["skipped"] for step, row in rows.items()} == pytest.approx({10: 0, 20: 0.1, 30: 0, 40: 0})
    assert all(np.isfinite(row["loss"]) for row in rows.values())
    assert rows[40]["loss"] < rows[10]["loss"]
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(outcome.state.params))
    assert int(outcome.state.step) == 40


@pytest.mark.parametrize("size", [1, 8])
def test_what_stays_bad_ends_the_run_and_names_the_step(experiment, tmp_path, size):
    with pytest.raises(NonFiniteError, match="from step 7 on") as caught:
        train(poisoned(experiment, bad_steps=range(7, 41), size=size, nonfinite_limit=5), tmp_path, quiet=True)
    assert caught.value.exit_code == 70


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_bad_steps_at_the_very_end_are_not_overlooked(experiment, size):
    with pytest.raises(NonFiniteError, match="5 steps in a row, from step 36 on"):
        train(poisoned(experiment, bad_steps=range(36, 41), size=size, nonfinite_limit=5), quiet=True)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_many_bad_steps_that_are_not_in_a_row_do_not_end_the_run(experiment, size):
    outcome = train(poisoned(experiment, bad_steps=range(1, 40, 2), size=size, nonfinite_limit=3), quiet=True)
    assert outcome.step == 40


def test_the_same_steps_are_left_out_whatever_the_dispatch(experiment):
    states = [
        train(poisoned(experiment, bad_steps=[2, 3, 20, 33], size=size), quiet=True).state.params for size in (1, 8)
    ]
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_a_failed_run_goes_on_from_its_checkpoint_once_the_cause_is_gone(experiment, tmp_path):
    bad = poisoned(experiment, bad_steps=range(18, 41), size=1, nonfinite_limit=3)
    for _ in range(2):
        with pytest.raises(NonFiniteError, match="from step 18 on"):
            train(bad, tmp_path, quiet=True)
    assert train(dataclasses.replace(bad, augment=Poison()), tmp_path, quiet=True).step == 40
