import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import optim

STEPS = 40
PEAK = 0.3
BASE = {"peak": PEAK, "steps": STEPS}


def of_torch(make, steps=STEPS + 10):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def of_ours(schedule, steps=STEPS + 10):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(steps)))


CASES = {
    "multi_step": (
        optim.step_decay(peak=PEAK, boundaries=(7, 20, 30), factor=0.2),
        lambda schedulers, o: schedulers.MultiStepLR(o, [7, 20, 30], gamma=0.2),
    ),
    "step": (
        optim.step_decay(peak=PEAK, boundaries=tuple(range(15, STEPS + 10, 15))),
        lambda schedulers, o: schedulers.StepLR(o, 15),
    ),
    "exponential": (
        optim.exponential(peak=PEAK, steps=STEPS + 10, end_fraction=0.9 ** (STEPS + 10)),
        lambda schedulers, o: schedulers.ExponentialLR(o, 0.9),
    ),
    "linear": (
        optim.linear(**BASE, end_fraction=0.1),
        lambda schedulers, o: schedulers.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=STEPS),
    ),
    "polynomial": (
        optim.polynomial(**BASE, power=1.7),
        lambda schedulers, o: schedulers.PolynomialLR(o, total_iters=STEPS, power=1.7),
    ),
    "constant_after_warmup": (
        optim.constant(peak=PEAK, warmup_steps=10, warmup_from=0.2),
        lambda schedulers, o: schedulers.LinearLR(o, start_factor=0.2, end_factor=1.0, total_iters=10),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    ours, theirs = CASES[name]
    np.testing.assert_allclose(of_ours(ours), of_torch(theirs), rtol=1e-12, atol=1e-15)


def test_cosine_equals_torch_to_its_end():
    """After T_max torch rises again; here the end is held."""
    theirs = of_torch(lambda schedulers, o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.1 * PEAK), STEPS + 1)
    ours = of_ours(optim.cosine(**BASE, end_fraction=0.1), STEPS + 10)
    np.testing.assert_allclose(ours[: STEPS + 1], theirs, rtol=1e-12)
    np.testing.assert_allclose(ours[STEPS:], 0.1 * PEAK, rtol=1e-12)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize(("steps", "rise"), [(40, 0.3), (37, 0.45), (1000, 0.1)])
def test_one_cycle_equals_torch(shape, steps, rise):
    strategy = {"cosine": "cos", "linear": "linear"}[shape]
    theirs = of_torch(
        lambda schedulers, o: schedulers.OneCycleLR(
            o, PEAK, total_steps=steps, pct_start=rise, anneal_strategy=strategy
        ),
        steps - 1,
    )
    ours = of_ours(optim.one_cycle(peak=PEAK, steps=steps, rise_fraction=rise, shape=shape), steps)
    np.testing.assert_allclose(ours[:-1], theirs, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(ours[-1], PEAK * 4e-6, rtol=1e-12)


def test_warmup_cosine_equals_optax():
    theirs = optax.warmup_cosine_decay_schedule(0.03, PEAK, 10, STEPS, end_value=0.03)
    ours = optim.cosine(**BASE, end_fraction=0.1, warmup_steps=10, warmup_from=0.1)
    np.testing.assert_allclose(of_ours(ours), of_ours(theirs), rtol=1e-12)


def test_inverse_sqrt_is_that_of_the_transformer():
    """lrate = d_model ** -0.5 * min(step ** -0.5, step * warmup ** -1.5)."""
    step = np.arange(1, 200)
    theirs = 512**-0.5 * np.minimum(step**-0.5, step * 40**-1.5)
    ours = of_ours(optim.inverse_sqrt(peak=512**-0.5 * 40**-0.5, warmup_steps=40), 200)
    np.testing.assert_allclose(ours[1:], theirs, rtol=1e-12)


def test_inverse_sqrt_timescale():
    schedule = optim.inverse_sqrt(peak=1.0, warmup_steps=0, timescale=100)
    assert float(schedule(0)) == 1.0
    assert float(schedule(300)) == 0.5


def test_warmup_stable_decay_by_hand():
    rates = of_ours(optim.warmup_stable_decay(peak=1.0, steps=12, decay_steps=4, warmup_steps=4, end_fraction=0.2), 14)
    expected = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_warmup_stable_decay_by_one_minus_root():
    rates = of_ours(optim.warmup_stable_decay(peak=1.0, steps=10, decay_steps=4, shape="sqrt"), 12)
    np.testing.assert_allclose(rates[6:11], 1 - np.sqrt(np.arange(5) / 4), atol=1e-12)


DECAYS = {
    "linear": optim.linear,
    "cosine": optim.cosine,
    "exponential": optim.exponential,
    "polynomial": optim.polynomial,
    "warmup_stable_decay": lambda **k: optim.warmup_stable_decay(decay_steps=k["steps"] - k["warmup_steps"], **k),
    "warmup_stable_cosine": lambda **k: optim.warmup_stable_decay(decay_steps=3, shape="cosine", **k),
}
schedule_arguments = {
    "name": st.sampled_from(sorted(DECAYS)),
    "peak": st.floats(2**-20, 10, width=32),
    "warmup_steps": st.integers(0, 5000),
    "after": st.integers(3, 50_000),
    "end_fraction": st.floats(2**-10, 1, width=32),
    "warmup_from": st.floats(0, 1, width=32),
}


@settings(max_examples=25, deadline=None)
@given(**schedule_arguments)
def test_ends_are_exact_in_float32_and_between_nothing_leaves_the_range(
    name, peak, warmup_steps, after, end_fraction, warmup_from
):
    steps = warmup_steps + after
    schedule = DECAYS[name](
        peak=peak, steps=steps, warmup_steps=warmup_steps, end_fraction=end_fraction, warmup_from=warmup_from
    )
    at = [0, warmup_steps, steps - 1, steps, steps + 1000]
    first, top, before, end, later = np.asarray(schedule(jnp.array(at)))
    assert top == np.float32(peak)
    assert end == np.float32(peak) * np.float32(end_fraction) == later
    assert end * (1 - 1e-6) <= before <= top * (1 + 1e-6)
    if warmup_steps:
        np.testing.assert_allclose(first, peak * warmup_from, rtol=1e-6, atol=1e-30)


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(sorted(DECAYS)), warmup_steps=st.integers(0, 300), after=st.integers(3, 500))
def test_rises_then_falls_without_jumps(name, warmup_steps, after):
    steps = warmup_steps + after
    schedule = DECAYS[name](peak=1.0, steps=steps, warmup_steps=warmup_steps, end_fraction=0.5)
    rates = np.asarray(schedule(jnp.arange(820)))[: steps + 20]  # one shape, so that little is compiled
    change = np.diff(rates)
    assert (change[:warmup_steps] > 0).all()
    assert (change[warmup_steps:] <= 1e-6).all()
    if warmup_steps:
        np.testing.assert_allclose(change[:warmup_steps], 1 / warmup_steps, rtol=1e-2, atol=1e-6)
    assert (
        change.min() > -0.5 * (0.5 * np.pi / 3 if "cosine" in name and name != "cosine" else 2 * np.pi / after) - 1e-5
    )


@pytest.mark.parametrize("step", [3, np.int64(3), np.int32(3), jnp.int32(3)])
def test_takes_any_integer(step):
    for schedule in (optim.cosine(**BASE, warmup_steps=5), optim.step_decay(peak=1.0, boundaries=(2,))):
        value = schedule(step)
        assert value.shape == ()
        assert value.dtype == jnp.float32


def test_step_decay_without_boundaries_is_constant():
    np.testing.assert_array_equal(of_ours(optim.step_decay(peak=PEAK, boundaries=())), PEAK)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.cosine(peak=-1.0, steps=10), "peak is -1.0; it must be a finite number"),
        (lambda: optim.constant(peak=float("nan")), "peak is nan"),
        (lambda: optim.cosine(peak=1.0, steps=10, warmup_steps=10), "steps is 10; it must be more than the 10 warm-up"),
        (lambda: optim.linear(peak=1.0, steps=10, end_fraction=-0.1), "end_fraction is -0.1"),
        (lambda: optim.exponential(peak=1.0, steps=10, end_fraction=0.0), "end_fraction is 0.0; it must be above zero"),
        (lambda: optim.step_decay(peak=1.0, boundaries=(5, 5)), r"boundaries is \(5, 5\); it must be increasing"),
        (lambda: optim.step_decay(peak=1.0, boundaries=(5,), warmup_steps=6), "after the warm-up"),
        (lambda: optim.step_decay(peak=1.0, boundaries=(5,), factor=0.0), "factor is 0.0"),
        (lambda: optim.polynomial(peak=1.0, steps=10, power=0.0), "power is 0.0"),
        (lambda: optim.constant(peak=1.0, warmup_steps=-1), "warmup_steps is -1"),
        (lambda: optim.constant(peak=1.0, warmup_from=2.0), "warmup_from is 2.0"),
        (lambda: optim.inverse_sqrt(peak=1.0, warmup_steps=0), "warmup_steps is 0; it must be 1 or more"),
        (lambda: optim.one_cycle(peak=1.0, steps=3), "steps is 3; it must be so large"),
        (lambda: optim.one_cycle(peak=1.0, steps=30, rise_fraction=1.0), "rise_fraction is 1.0"),
        (lambda: optim.one_cycle(peak=1.0, steps=30, shape="square"), "shape is 'square'"),
        (lambda: optim.warmup_stable_decay(peak=1.0, steps=9, decay_steps=10), "decay_steps is 10"),
        (
            lambda: optim.warmup_stable_decay(peak=1.0, steps=9, decay_steps=3, shape="x"),
            "shape is 'x'; it must be one",
        ),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
