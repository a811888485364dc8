"""Which steps the guard leaves out, and what it remembers of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.learners import Learner, Spikes, TrainState, checked, guarded, repeated, unguarded
from jaxdl.metrics import Mean


def toy():
    """Adds the batch to its parameter; the batch is the loss too."""

    def init(key, batch):
        return TrainState(step=jnp.zeros((), jnp.int32), key=key, params=jnp.zeros(()), model_state={}, opt_state=())

    def step(state, batch):
        after = state.replace(step=state.step + 1, params=state.params + batch["x"])
        return after, {"loss": Mean.of(batch["x"]), "grad_norm": Mean.of(batch["g"])}

    return Learner(init, step, None, None)


def run(learner, losses, norms=None):
    """The state and the metrics after each step."""
    norms = np.ones(len(losses)) if norms is None else norms
    state = learner.init(jax.random.key(0), None)
    step, found = jax.jit(learner.step), []
    for x, g in zip(losses, norms, strict=True):
        state, metrics = step(state, {"x": np.float32(x), "g": np.float32(g)})
        found.append((state, {name: float(metric.compute()) for name, metric in metrics.items()}))
    return found


def left_out(found):
    return [number for number, (_, metrics) in enumerate(found, start=1) if metrics["skipped"]]


def expected(losses, factor, window):
    """The same rule, one number after the other."""
    mean = deviation = 0.0
    out = []
    for count, x in enumerate(losses):
        bound = mean + factor * max(deviation, 1e-3 * abs(mean))
        if count >= window and x > bound:
            out.append(count + 1)
            x = bound
        share = 1 / min(count + 1, window)
        away = abs(x - mean) if count else 0.0
        mean, deviation = mean + share * (x - mean), deviation + share * (away - deviation)
    return out, mean, deviation


@pytest.mark.parametrize("seed", range(3))
def test_spikes_are_those_of_the_rule(seed):
    losses = np.abs(np.random.default_rng(seed).standard_cauchy(80)).astype(np.float32)
    found = run(guarded(toy(), spikes=Spikes(factor=3.0, window=10)), losses)
    out, mean, deviation = expected(losses.tolist(), 3.0, 10)
    assert left_out(found) == out
    assert len(out) >= 2
    averages = found[-1][0].extras["spikes"]
    np.testing.assert_allclose(averages["mean"][0], mean, rtol=1e-4)
    np.testing.assert_allclose(averages["deviation"][0], deviation, rtol=1e-4)
    kept = [x for number, x in enumerate(losses, start=1) if number not in out]
    np.testing.assert_allclose(found[-1][0].params, np.sum(kept), rtol=1e-4)


def test_a_spike_of_the_gradient_alone_counts_and_kinds_are_told_apart():
    losses, norms = np.ones(12), np.ones(12)
    norms[8], losses[9], losses[10] = 50.0, np.nan, 7.0
    found = run(guarded(toy(), spikes=Spikes(factor=8.0, window=4)), losses, norms)
    assert left_out(found) == [9, 10, 11]
    kinds = [(found[i][1]["skipped_nonfinite"], found[i][1]["skipped_spike"]) for i in (7, 8, 9, 10)]
    assert kinds == [(0, 0), (0, 1), (1, 0), (0, 1)]
    state = found[10][0]
    assert (int(state.extras["nonfinite"]["run"]), int(state.extras["nonfinite"]["first"])) == (3, 9)


def test_the_first_window_is_not_judged_and_rounding_is_no_spike():
    assert left_out(run(guarded(toy(), spikes=Spikes(factor=2.0, window=5)), [1, 99, 1, 99, 1])) == []
    steady = 1 + 1e-6 * np.random.default_rng(0).random(30)
    assert left_out(run(guarded(toy(), spikes=Spikes(factor=2.0, window=5)), steady)) == []


def test_a_level_that_stays_is_accepted():
    noise = np.random.default_rng(1).random(300)
    losses = noise + np.where(np.arange(300) < 100, 1.0, 3.0)
    out = left_out(run(guarded(toy(), spikes=Spikes(factor=4.0, window=20)), losses))
    assert 101 in out
    assert max(out) < 160


def test_nothing_that_is_not_finite_enters_the_averages():
    spikes = Spikes(factor=4.0, window=4)
    good = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    plain = run(guarded(toy(), spikes=spikes), good)[-1][0].extras["spikes"]
    mixed = run(guarded(toy(), spikes=spikes), [1.0, np.nan, 2.0, 1.0, np.inf, 2.0, 1.0, 2.0])[-1][0].extras["spikes"]
    for name in plain:
        assert float(plain[name][0]) == float(mixed[name][0])


@pytest.mark.parametrize("limit", [1, 3])
def test_after_the_limit_nothing_is_trained_on_and_the_record_stays(limit):
    losses = [1.0, 1.0, *[np.nan] * 3, *[1.0] * 4, np.nan]
    found = run(guarded(toy(), limit=limit), losses)
    assert left_out(found) == list(range(3, 11))
    state = found[-1][0]
    assert (int(state.extras["nonfinite"]["run"]), int(state.extras["nonfinite"]["first"])) == (limit, 3)
    assert float(state.params) == 2.0
    assert int(state.step) == 10


def test_a_run_below_the_limit_is_forgotten():
    state = run(guarded(toy(), limit=3), [1.0, np.nan, np.nan, 1.0, np.nan])[-1][0]
    assert (int(state.extras["nonfinite"]["run"]), int(state.extras["nonfinite"]["first"])) == (1, 5)
    assert float(state.params) == 2.0


@pytest.mark.parametrize("bad", [(), (13,), (5, 6, 7, 30)])
def test_many_steps_a_call_leave_out_the_same(bad):
    losses = 1 + 0.1 * np.random.default_rng(2).random(32).astype(np.float32)
    for number, place in enumerate(bad):
        losses[place] = np.nan if number % 2 else 40.0
    settings = {"spikes": Spikes(factor=6.0, window=5), "limit": 3}
    single = run(guarded(toy(), **settings), losses)
    safe = repeated(guarded(toy(), **settings))
    many = checked(repeated(unguarded(toy(), **settings)), safe, limit=3)
    state, step, skipped = many.init(jax.random.key(0), None), jax.jit(many.step), 0.0
    for first in range(0, 32, 8):
        part = {"x": losses[first : first + 8], "g": np.ones(8, np.float32), "count": np.int32(8)}
        state, metrics = step(state, part)
        skipped += float(metrics["skipped"].total)
    assert skipped == len(left_out(single))
    assert bool(bad) == bool(skipped)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(single[-1][0]), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"factor": 0.0}, {"factor": -1.0}, {"window": 1}])
def test_what_makes_no_sense_is_refused(settings):
    with pytest.raises(ValueError, match="factor must be positive and window at least 2"):
        Spikes(**settings)
