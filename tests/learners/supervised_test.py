"""The update is the same however its batch is cut, padded, sharded or computed again."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import ConfigError
from jaxdl.learners import Precision, averaged, checked, gathered, guarded, repeated, supervised, unguarded
from jaxdl.losses import cross_entropy
from jaxdl.metrics import Mean
from jaxdl.optim import adam, optimizer, sgd


class Net(nn.Module):
    width: int = 16

    @nn.compact
    def __call__(self, image, *, train):
        hidden = nn.tanh(nn.Dense(self.width, name="hidden")(image))
        return nn.Dense(3, name="head")(hidden)


@dataclasses.dataclass(frozen=True)
class Task:
    def inputs(self, batch):
        return {"image": batch["image"]}

    def score(self, outputs, batch):
        loss = Mean.of(cross_entropy(outputs, batch["label"]), batch["mask"])
        return loss, {"accuracy": Mean.of(outputs.argmax(-1) == batch["label"], batch["mask"])}

    def measure(self, outputs, batch):
        return self.score(outputs, batch)[1]


SGD = optimizer(rule=sgd(momentum=0.9), learning_rate=0.1)


def make_batch(seed=0, size=16, mask=None):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(size, 5)).astype(np.float32),
        "label": rng.integers(0, 3, size),
        "mask": np.ones(size, np.float32) if mask is None else np.asarray(mask, np.float32),
    }


def run(learner, batches, seed=0):
    state = learner.init(jax.random.key(seed), batches[0])
    step, metrics = jax.jit(learner.step), None
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def test_one_step_equals_torch():
    torch = pytest.importorskip("torch")
    batch = make_batch()
    learner = supervised(Net(), Task(), SGD)
    state = learner.init(jax.random.key(0), batch)
    net = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    with torch.no_grad():
        for layer, name in ((net[0], "hidden"), (net[2], "head")):
            layer.weight.copy_(torch.tensor(np.asarray(state.params[name]["kernel"]).T))
            layer.bias.copy_(torch.tensor(np.asarray(state.params[name]["bias"])))
    solver = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(5):
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(batch["image"])), torch.tensor(batch["label"]))
        loss.backward()
        solver.step()
        state, metrics = learner.step(state, batch)
        np.testing.assert_allclose(metrics["loss"].compute(), loss.item(), rtol=1e-5)
    np.testing.assert_allclose(state.params["head"]["kernel"].T, net[2].weight.detach().numpy(), atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.booleans(), min_size=16, max_size=16).filter(any), st.sampled_from([2, 4, 8]))
def test_microbatches_equal_the_whole_batch_for_any_padding(mask, parts):
    batches = [make_batch(seed, mask=mask) for seed in range(2)]
    whole, metrics = run(supervised(Net(), Task(), SGD), batches)
    cut, cut_metrics = run(supervised(Net(), Task(), SGD, microbatches=parts), batches)
    chex.assert_trees_all_close(whole.params, cut.params, atol=1e-6)
    chex.assert_trees_all_close(metrics, cut_metrics, rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing():
    batch = make_batch(size=12)
    padded = {name: np.concatenate([x, np.full_like(x[:4], 77 if name == "image" else 0)]) for name, x in batch.items()}
    plain, _ = run(supervised(Net(), Task(), SGD), [batch])
    with_padding, _ = run(supervised(Net(), Task(), SGD), [padded])
    chex.assert_trees_all_close(plain.params, with_padding.params, atol=1e-6)


def test_a_batch_that_is_all_padding_changes_no_parameter():
    learner = supervised(Net(), Task(), optimizer(rule=sgd(), learning_rate=0.1))
    batch = make_batch(mask=np.zeros(16))
    state = learner.init(jax.random.key(0), batch)
    after, metrics = learner.step(state, batch)
    chex.assert_trees_all_equal(after.params, state.params)
    assert np.isnan(metrics["loss"].compute())


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_rematerialisation_gives_the_same_update(remat):
    batches = [make_batch(seed) for seed in range(3)]
    plain, _ = run(supervised(Net(), Task(), SGD), batches)
    again, _ = run(supervised(Net(), Task(), SGD, remat=remat), batches)
    chex.assert_trees_all_close(plain.params, again.params, atol=1e-6)


def test_frozen_parameters_stay_and_cost_no_gradient_or_optimizer_state():
    batch = make_batch()
    learner = supervised(Net(), Task(), optimizer(rule=adam(), learning_rate=0.1), frozen=("hidden/.*",))
    state = learner.init(jax.random.key(0), batch)
    after, _ = jax.jit(learner.step)(state, batch)
    chex.assert_trees_all_equal(after.params["hidden"], state.params["hidden"])
    assert not np.allclose(after.params["head"]["kernel"], state.params["head"]["kernel"])
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert (5, 16) not in shapes
    assert (16, 3) in shapes

    def matrix_products(frozen):
        learner = supervised(Net(), Task(), SGD, frozen=frozen)
        state = learner.init(jax.random.key(0), batch)
        return str(jax.make_jaxpr(learner.step)(state, batch)).count("dot_general")

    assert matrix_products(("hidden/.*",)) == matrix_products(()) - 2


def test_precision_policy():
    batch = make_batch()
    learner = supervised(Net(), Task(), SGD, precision=Precision(compute="bfloat16"))
    state = learner.init(jax.random.key(0), batch)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float32"}
    assert "bf16" in str(jax.make_jaxpr(learner.step)(state, batch))
    assert learner.predict(state, batch).dtype == jnp.float32
    after, metrics = learner.step(state, batch)
    exact, exact_metrics = supervised(Net(), Task(), SGD).step(state, batch)
    np.testing.assert_allclose(metrics["loss"].compute(), exact_metrics["loss"].compute(), rtol=0.02)
    chex.assert_trees_all_close(after.params, exact.params, atol=0.02)
    low = supervised(Net(), Task(), SGD, precision=Precision(params="bfloat16"))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(low.init(jax.random.key(0), batch).params)} == {"bfloat16"}


def test_any_optax_transformation_serves():
    _, metrics = run(supervised(Net(), Task(), optax.adam(1e-2)), [make_batch()] * 30)
    assert metrics["loss"].compute() < 0.9


def test_the_step_is_traced_once():
    learner = supervised(Net(), Task(), SGD)
    batch = make_batch()
    state = learner.init(jax.random.key(0), batch)
    step = jax.jit(chex.assert_max_traces(learner.step, n=1))
    for seed in range(3):
        state, _ = step(state, make_batch(seed))
    assert int(state.step) == 3


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="choose a divisor of 16"):
        run(supervised(Net(), Task(), SGD, microbatches=3), [make_batch()])
    with pytest.raises(ValueError, match="at least 1"):
        supervised(Net(), Task(), SGD, microbatches=0)


def test_the_average_follows_its_recurrence():
    learner = averaged(supervised(Net(), Task(), SGD), decay=0.9)
    batch = make_batch()
    state = learner.init(jax.random.key(0), batch)
    expected = np.asarray(state.params["head"]["kernel"])
    for count in range(1, 6):
        state, _ = learner.step(state, batch)
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * np.asarray(state.params["head"]["kernel"])
    np.testing.assert_allclose(state.extras["average"]["params"]["head"]["kernel"], expected, atol=1e-6)
    plain = supervised(Net(), Task(), SGD)
    smooth = state.replace(params=state.extras["average"]["params"])
    chex.assert_trees_all_equal(learner.predict(state, batch), plain.predict(smooth, batch))
    with pytest.raises(ValueError, match="decay"):
        averaged(plain, decay=1.0)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_nonfinite_step_is_left_out_and_counted(poison):
    learner = guarded(averaged(supervised(Net(), Task(), optimizer(rule=adam())), decay=0.9))
    good, bad = make_batch(), make_batch()
    bad["image"][3, 2] = poison
    state = learner.init(jax.random.key(0), good)
    step = jax.jit(learner.step)
    before, _ = step(state, good)
    after, metrics = step(before, bad)
    chex.assert_trees_all_equal(after.params, before.params)
    chex.assert_trees_all_equal(after.opt_state, before.opt_state)
    chex.assert_trees_all_equal(after.extras["average"], before.extras["average"])
    assert int(after.step) == 2
    assert metrics["skipped"].compute() == 1
    assert metrics["loss"].weight == 0
    again, _ = step(after, bad)
    assert (int(again.extras["nonfinite"]["run"]), int(again.extras["nonfinite"]["first"])) == (2, 2)
    healed, metrics = step(again, good)
    assert int(healed.extras["nonfinite"]["run"]) == 0
    assert metrics["skipped"].compute() == 0


def test_many_steps_a_call_equal_one_a_call_whatever_the_count():
    learner = guarded(supervised(Net(), Task(), optimizer(rule=adam())))
    batches = [make_batch(seed) for seed in range(6)]
    single = learner.init(jax.random.key(0), batches[0])
    total = None
    for batch in batches:
        single, metrics = jax.jit(learner.step)(single, batch)
        total = metrics if total is None else jax.tree.map(jnp.add, total, metrics)
    many = jax.jit(chex.assert_max_traces(repeated(learner).step, n=1))
    state = learner.init(jax.random.key(0), batches[0])
    sums = None
    for first, count in ((0, 4), (4, 2)):
        rows = [batches[min(first + i, 5)] for i in range(4)]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        state, metrics = many(state, {**stacked, "count": np.int32(count)})
        sums = metrics if sums is None else jax.tree.map(jnp.add, sums, metrics)
    assert int(state.step) == 6
    chex.assert_trees_all_close(state.params, single.params, atol=1e-6)
    chex.assert_trees_all_close(sums, total, rtol=1e-5)


def test_gathering_on_the_device_equals_gathering_on_the_host():
    learner = supervised(Net(), Task(), SGD)
    whole = make_batch(size=40)
    index = np.array([3, 39, 0, 17], np.int32)
    state = learner.init(jax.random.key(0), whole)
    data = {name: whole[name] for name in ("image", "label")}
    host, _ = learner.step(state, {name: x[index] for name, x in whole.items()})
    device, _ = gathered(learner).step(state, {"data": data, "index": index, "mask": np.ones(4, np.float32)})
    chex.assert_trees_all_equal(host.params, device.params)


@pytest.mark.parametrize("poisoned", [(), (2,), (0, 1, 3)])
def test_checking_once_a_call_leaves_out_the_same_steps_as_the_guard(poisoned):
    def make(guard):
        return repeated(averaged(guard(supervised(Net(), Task(), optimizer(rule=adam()))), decay=0.9))

    rows = [make_batch(seed) for seed in range(4)]
    for i in poisoned:
        rows[i]["image"][0, 0] = np.nan
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {"count": np.int32(4)}
    safe = make(guarded)
    state = safe.init(jax.random.key(0), rows[1])
    expected, expected_metrics = jax.jit(safe.step)(state, batch)
    found, metrics = jax.jit(checked(make(unguarded), safe).step)(state, batch)
    assert metrics["skipped"].total == len(poisoned)
    chex.assert_trees_all_close(found.replace(key=None), expected.replace(key=None), atol=1e-6)
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5, atol=1e-6)


def test_the_guard_lets_a_learner_without_a_loss_pass():
    batch = make_batch()
    learner = supervised(Net(), Task(), SGD)
    silent = guarded(learner._replace(step=lambda state, batch: (learner.step(state, batch)[0], {})))
    state, metrics = jax.jit(silent.step)(silent.init(jax.random.key(0), batch), batch)
    assert metrics["skipped"].compute() == 0
    assert int(state.step) == 1


class Bare(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(x)


def test_a_model_that_cannot_be_called_as_the_task_does_is_explained():
    with pytest.raises(ConfigError, match=r"Bare.__call__ takes \(x\), but the task calls it with image, train"):
        supervised(Bare(), Task(), SGD).init(jax.random.key(0), make_batch())
