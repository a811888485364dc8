import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.checkpoint import restore_part
from jaxdl.errors import Preempted
from jaxdl.train import EarlyStopping, Evaluation, Moment, Saving, train


def stops_after(hook, values):
    """The number of evaluations after which the hook stops; None where it does not."""
    for number, value in enumerate(values, start=1):
        moment = Moment(step=number, state=None, metrics={}, results={"test/loss": value})
        if (hook(moment) or moment).stop:
            return number
    return None


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 2}, [3, 2, 1, 0], None),
        ({"patience": 2}, [3, 2, 2, 2], 4),
        ({"patience": 1}, [3, 3], 2),
        ({"patience": 2}, [3, 4, 2, 3, 1, 5, 5], 7),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.51], 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 1.8], None),
        ({"patience": 2, "mode": "max"}, [1, 2, 3], None),
        ({"patience": 2, "mode": "max"}, [3, 2, 1], 3),
        ({"patience": 2, "mode": "max", "min_delta": 1.0}, [1.0, 2.0, 2.0], 3),
        ({"patience": 2}, [math.nan, math.nan], 2),
        ({"patience": 2}, [1.0, math.nan, 0.5, math.nan, math.nan], 5),
        ({"patience": 2}, [math.inf, 1.0, 2.0], None),
    ],
)
def test_it_stops_after_patience_evaluations_without_improvement(settings, values, expected):
    assert stops_after(EarlyStopping("test/loss", **{"mode": "min", **settings}), values) == expected


def test_moments_without_the_metric_do_not_count():
    hook = EarlyStopping("test/loss", mode="min", patience=1)
    assert stops_after(hook, [1.0]) is None
    for _ in range(5):
        assert hook(Moment(step=1, state=None, metrics={}, results={"other/loss": 9.0})) is None
    assert hook(Moment(step=2, state=None, metrics={}, results={"test/loss": 2.0})).stop.startswith("test/loss")


@pytest.mark.parametrize("settings", [{"patience": 0}, {"min_delta": -1.0}, {"mode": "maximum"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"patience \d"):
        EarlyStopping("test/loss", **{"mode": "min", **settings})


@pytest.mark.parametrize("values", [[3, 2, 2, 2, 2], [3, math.nan, math.nan, 2, 2, 2]])
def test_what_it_remembers_is_all_that_it_needs(values):
    whole = stops_after(EarlyStopping("test/loss", mode="min", patience=3), values)
    for cut in range(len(values)):
        first, second = (
            EarlyStopping("test/loss", mode="min", patience=3),
            EarlyStopping("test/loss", mode="min", patience=3),
        )
        if stops_after(first, values[:cut]) is None:
            second.restore(first.state())
            rest = stops_after(second, values[cut:])
            assert (rest and rest + cut) == whole


def params_of(folder, step):
    return jax.tree.leaves(restore_part(folder / "checkpoints", "params", step=step).state)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def deteriorating(experiment, evaluations):
    """An experiment whose accuracy is best at step 8: later it is made to say class 0, again and again."""

    def spoil(moment):
        if moment.step <= 8:
            return None
        spoilt = lambda x: jnp.zeros_like(x).at[0].set(1e6) if x.shape == (10,) else x  # noqa: E731
        params = jax.tree.map(lambda x: jax.device_put(spoilt(x), x.sharding), moment.state.params)
        return moment._replace(state=moment.state.replace(params=params))

    stopping = EarlyStopping("test/accuracy", mode="max", patience=evaluations)
    data = experiment().evals["test"].data
    return experiment(
        steps=60,
        evals={"test": Evaluation(data=data, every=4)},
        hooks=(stopping, lambda moment: spoil(moment) if moment.step % 4 == 1 else None),
        saving=Saving(every=100, keep=1),
    )


def test_the_best_state_comes_back_and_a_stopped_run_stays_stopped(experiment, tmp_path):
    outcome = train(deteriorating(experiment, 3), tmp_path, quiet=True)
    assert outcome.step == 8
    assert outcome.stopped.startswith("test/accuracy has not improved")
    assert same(jax.tree.leaves(jax.device_get(outcome.state.params)), params_of(tmp_path, 8))
    saved = sorted(int(path.name) for path in (tmp_path / "checkpoints").glob("0*"))
    assert saved == [8, 20]
    assert not same(params_of(tmp_path, 8), params_of(tmp_path, 20))
    assert outcome.results["test/accuracy"] > 0.2

    again = train(deteriorating(experiment, 3), tmp_path, quiet=True)
    assert (again.step, again.stopped, again.results) == (outcome.step, outcome.stopped, outcome.results)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").glob("0*")) == saved


def test_patience_goes_on_across_a_restart(experiment, tmp_path):
    interrupt = lambda moment: moment._replace(stop="a signal asked it to") if moment.step == 16 else None  # noqa: E731
    whole = deteriorating(experiment, 4)
    halves = deteriorating(experiment, 4)
    with pytest.raises(Preempted):
        train(dataclasses.replace(halves, hooks=(*halves.hooks, interrupt)), tmp_path / "halves", quiet=True)
    resumed = train(deteriorating(experiment, 4), tmp_path / "halves", quiet=True)
    straight = train(whole, tmp_path / "whole", quiet=True)
    assert (resumed.step, resumed.stopped) == (straight.step, straight.stopped)
    steps = [sorted(p.name for p in (tmp_path / run / "checkpoints").glob("0*")) for run in ("halves", "whole")]
    assert steps[0] == steps[1] == ["00000008", "00000024"]


def test_the_best_state_comes_back_when_training_reaches_its_end_too(experiment, tmp_path):
    outcome = train(deteriorating(experiment, 100), tmp_path, quiet=True)
    assert (outcome.step, outcome.stopped) == (8, None)


def test_without_a_run_folder_the_last_state_is_returned_with_a_warning(experiment, capsys):
    outcome = train(deteriorating(experiment, 3))
    assert outcome.step == 20
    assert "Without a run folder there is no best state" in capsys.readouterr().err
