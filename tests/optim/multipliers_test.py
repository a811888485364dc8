import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl import config, optim
from jaxdl.config import spec
from jaxdl.optim import gradual_unfreezing, layerwise, optimizer, unfreeze_at

LAYERS = ("embed/.*", "block_0/.*", "block_1/.*", "head/.*")
NAMES = ("embed", "block_0", "block_1", "head")
PARAMS = {name: {"kernel": jnp.full((2, 2), float(i + 1)), "bias": jnp.full(2, 0.5)} for i, name in enumerate(NAMES)}


def gradients(seed):
    keys = iter(jax.random.split(jax.random.key(seed), 8))
    return jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), PARAMS)


def train(steps, **settings):
    """The parameters after each step."""
    rule = optimizer(**{"rule": optim.adam(), "learning_rate": 0.1} | settings)
    params, state, seen = PARAMS, rule.init(PARAMS), []
    update = jax.jit(rule.update)
    for step in range(steps):
        updates, state = update(gradients(step), state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        seen.append(params)
    return seen


def moved(params):
    """The layers of which anything moved."""
    same = {name: jax.tree.map(lambda a, b: bool((a == b).all()), params[name], PARAMS[name]) for name in NAMES}
    return [name for name in NAMES if not all(jax.tree.leaves(same[name]))]


def test_layerwise_rates_are_those_of_parameter_groups_in_torch():
    rates = dict(zip(NAMES, (0.1 * 0.5**3, 0.1 * 0.5**2, 0.1 * 0.5, 0.1)))
    theirs = {
        name: {k: torch.tensor(np.array(v), requires_grad=True) for k, v in PARAMS[name].items()} for name in NAMES
    }
    groups = [{"params": list(theirs[name].values()), "lr": rate} for name, rate in rates.items()]
    reference = torch.optim.AdamW(groups, weight_decay=0.2)
    for step in range(4):
        for name, parts in gradients(step).items():
            for key, gradient in parts.items():
                theirs[name][key].grad = torch.tensor(np.array(gradient))
        reference.step()
    ours = train(4, learning_rate_multipliers=layerwise(decay=0.5, layers=LAYERS), weight_decay=((".*", 0.2),))[-1]
    for name in NAMES:
        for key, value in ours[name].items():
            np.testing.assert_allclose(value, theirs[name][key].detach().numpy(), rtol=1e-5)


def test_layers_thaw_from_the_last_one_on_and_do_not_move_before():
    rules = gradual_unfreezing(layers=LAYERS, every=2)
    seen = train(7, learning_rate_multipliers=rules, weight_decay=((".*", 0.3),), l2=0.1, max_norm=0.5)
    assert [moved(params) for params in seen] == [
        ["head"], ["head"],
        ["block_1", "head"], ["block_1", "head"],
        ["block_0", "block_1", "head"], ["block_0", "block_1", "head"],
        list(NAMES),
    ]  # fmt: skip


def test_a_thawed_layer_goes_on_with_the_moments_of_its_gradients():
    late = train(3, learning_rate_multipliers=(("head/.*", unfreeze_at(step=2)), (".*", 1.0)))
    whole = train(3)
    step = jax.tree.map(lambda after, before: after - before, whole[2]["head"], whole[1]["head"])
    expected = jax.tree.map(lambda p, u: p + u, PARAMS["head"], step)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), late[2]["head"], expected)
    assert moved(late[1]) == list(NAMES[:-1])


def test_not_even_infinite_gradients_move_what_is_frozen():
    rule = optimizer(rule=optim.sgd(), learning_rate_multipliers=((".*", unfreeze_at(step=1)),))
    infinite = jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), PARAMS)
    updates, _ = rule.update(infinite, rule.init(PARAMS), PARAMS)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))


def test_discriminative_rates_of_the_paper():
    rules = gradual_unfreezing(layers=LAYERS, every=10, decay=1 / 2.6)
    assert [float(rule(25)) for _, rule in rules] == pytest.approx([0, 1 / 2.6**2, 1 / 2.6, 1])


@pytest.mark.parametrize("make", [
    spec(layerwise, decay=0.5, layers=LAYERS),
    spec(gradual_unfreezing, layers=LAYERS, every=2),
    (("head/.*", spec(unfreeze_at, step=3)), (".*", 1.0)),
])  # fmt: skip
def test_a_config_may_hold_them(make):
    tree = config.from_json(config.to_json(spec(optimizer, rule=spec(optim.sgd), learning_rate_multipliers=make)))
    config.check(tree)
    rule = config.build(tree)
    updates, _ = rule.update(gradients(0), rule.init(PARAMS), PARAMS)
    assert (updates["block_1"]["bias"] != 0).all() or not isinstance(make, tuple)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layerwise(decay=0.0, layers=LAYERS), "decay is 0.0"),
        (lambda: layerwise(decay=1.5, layers=LAYERS), "decay is 1.5"),
        (lambda: layerwise(decay=0.5, layers=()), r"layers is \(\)"),
        (lambda: layerwise(decay=0.5, layers="head/.*"), "layers is 'head"),
        (lambda: gradual_unfreezing(layers=LAYERS, every=0), "every is 0"),
        (lambda: unfreeze_at(step=-1), "step is -1"),
        (lambda: unfreeze_at(step=1, multiplier=float("nan")), "multiplier is nan"),
        (lambda: optimizer(rule=optim.sgd(), weight_decay=((".*", unfreeze_at(step=1)),)), "weight_decay of"),
    ],
)
def test_wrong_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_parameter_must_be_in_a_layer():
    with pytest.raises(ValueError, match="rule matches block_0/bias"):
        optimizer(
            rule=optim.sgd(), learning_rate_multipliers=layerwise(decay=0.5, layers=("head/.*", "embed/.*"))
        ).init(PARAMS)
