"""Every rule against torch.optim on the same network in float64, and as a minimiser."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

STEPS = 20
SHAPES = {"bias": (3,), "conv": (3, 3, 2, 4), "dense": (16, 3)}


def problem():
    """Parameters, images (N, H, W, C) and targets of a network with a convolution, a matrix and a bias."""
    random = np.random.default_rng(0)
    params = {name: 0.3 * random.standard_normal(shape) for name, shape in SHAPES.items()}
    return params, random.standard_normal((8, 4, 4, 2)), random.standard_normal((8, 3))


def jax_loss(params, image, target):
    dimensions = ("NHWC", "HWIO", "NHWC")
    hidden = jnp.tanh(
        jax.lax.conv_general_dilated(image, params["conv"], (1, 1), "VALID", dimension_numbers=dimensions)
    )
    output = jnp.sin(hidden.reshape(8, -1) @ params["dense"] + params["bias"][None])
    return jnp.mean((output - target) ** 2)


def torch_loss(params, image, target):
    torch = pytest.importorskip("torch")
    kernel = params["conv"].permute(3, 2, 0, 1)
    hidden = torch.tanh(torch.nn.functional.conv2d(image.permute(0, 3, 1, 2), kernel)).permute(0, 2, 3, 1)
    output = torch.sin(hidden.reshape(8, -1) @ params["dense"] + params["bias"][None])
    return torch.mean((output - target) ** 2)


gradients_of = jax.jit(jax.grad(jax_loss))  # compiled once for all rules


def train_jax(optimizer, steps=STEPS):
    params, image, target = problem()
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
        state = optimizer.init(params)

        @jax.jit
        def step(gradients, params, state):
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(steps):
            params, state = step(gradients_of(params, jnp.asarray(image), jnp.asarray(target)), params, state)
        return jax.tree.map(np.asarray, params)


def train_torch(make, steps=STEPS, before_step=None):
    torch = pytest.importorskip("torch")
    params, image, target = problem()
    params = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    optimizer = make(list(params.values()))
    for _ in range(steps):
        optimizer.zero_grad()
        torch_loss(params, torch.tensor(image), torch.tensor(target)).backward()
        if before_step is not None:
            before_step(list(params.values()))
        optimizer.step()
    return {name: value.detach().numpy() for name, value in params.items()}


def assert_same(ours, theirs, tolerance):
    start, _, _ = problem()
    for name in SHAPES:
        assert np.abs(theirs[name] - start[name]).max() > 1e-3, "the comparison must move"
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=tolerance, err_msg=name)


ALL = ((".*", 0.01),)
CASES = {
    "sgd": (optim.sgd(), {}, "SGD", {}, 1e-13),
    "momentum": (optim.sgd(momentum=0.9), {}, "SGD", {"momentum": 0.9}, 1e-13),
    "nesterov": (
        optim.sgd(momentum=0.9, nesterov=True),
        {},
        "SGD",
        {"momentum": 0.9, "nesterov": True},
        1e-13,
    ),
    "dampening": (
        optim.sgd(momentum=0.9, dampening=0.3),
        {},
        "SGD",
        {"momentum": 0.9, "dampening": 0.3},
        1e-13,
    ),
    "sgd_l2": (
        optim.sgd(momentum=0.9),
        {"l2": ALL},
        "SGD",
        {"momentum": 0.9, "weight_decay": 0.01},
        1e-13,
    ),
    "adam": (optim.adam(), {}, "Adam", {}, 1e-13),
    "adam_betas": (
        optim.adam(b1=0.8, b2=0.95, eps=1e-3),
        {},
        "Adam",
        {"betas": (0.8, 0.95), "eps": 1e-3},
        1e-13,
    ),
    "adam_l2": (optim.adam(), {"l2": ALL}, "Adam", {"weight_decay": 0.01}, 1e-13),
    "adamw": (optim.adam(), {"weight_decay": ALL}, "AdamW", {"weight_decay": 0.01}, 1e-13),
    "rmsprop": (optim.rmsprop(), {}, "RMSprop", {}, 1e-13),
    "rmsprop_momentum": (optim.rmsprop(momentum=0.9), {}, "RMSprop", {"momentum": 0.9}, 1e-13),
    "rmsprop_centered": (optim.rmsprop(centered=True), {}, "RMSprop", {"centered": True}, 1e-11),
    "rmsprop_both": (
        optim.rmsprop(decay=0.9, eps=1e-4, momentum=0.5, centered=True),
        {},
        "RMSprop",
        {"alpha": 0.9, "eps": 1e-4, "momentum": 0.5, "centered": True},
        1e-12,
    ),
    "adagrad": (optim.adagrad(), {}, "Adagrad", {}, 1e-13),
    "adagrad_start": (
        optim.adagrad(initial_accumulator=0.1, eps=1e-3),
        {},
        "Adagrad",
        {"initial_accumulator_value": 0.1, "eps": 1e-3},
        1e-13,
    ),
    "adadelta": (optim.adadelta(), {}, "Adadelta", {}, 1e-13),
    "adamax": (optim.adamax(), {}, "Adamax", {}, 1e-13),
    "radam": (optim.radam(), {}, "RAdam", {}, 1e-6),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    torch = pytest.importorskip("torch")
    rule, settings, torch_name, torch_settings, tolerance = CASES[name]
    learning_rate = 0.002 if "rmsprop" in name else 0.05  # a larger one is chaotic: rounding grows a thousandfold
    ours = train_jax(optim.optimizer(rule=rule, learning_rate=learning_rate, **settings))
    theirs = train_torch(functools.partial(getattr(torch.optim, torch_name), lr=learning_rate, **torch_settings))
    assert_same(ours, theirs, tolerance)


def test_clipping_equals_torch():
    torch = pytest.importorskip("torch")
    ours = train_jax(optim.optimizer(rule=optim.sgd(), learning_rate=0.5, clip_norm=0.05))
    theirs = train_torch(
        functools.partial(torch.optim.SGD, lr=0.5), before_step=lambda p: torch.nn.utils.clip_grad_norm_(p, 0.05)
    )
    assert_same(ours, theirs, 1e-5)  # torch adds 1e-6 to the norm


def test_clipping_values_equals_torch():
    torch = pytest.importorskip("torch")
    ours = train_jax(optim.optimizer(rule=optim.sgd(), learning_rate=0.5, clip_value=0.02))
    theirs = train_torch(
        functools.partial(torch.optim.SGD, lr=0.5), before_step=lambda p: torch.nn.utils.clip_grad_value_(p, 0.02)
    )
    assert_same(ours, theirs, 1e-13)


def test_adafactor_equals_torch_for_matrices():
    """At learning rates below 1 / sqrt(step), where torch's own schedule does not act, and with its small eps."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(1)
    start, gradients = random.standard_normal((6, 4)), random.standard_normal((STEPS, 6, 4))
    theirs = torch.tensor(start, requires_grad=True)
    torch_optimizer = torch.optim.Adafactor([theirs], lr=0.05, eps=(1e-15, 1e-3))
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        torch_optimizer.step()
    rule = optim.adafactor(min_size_to_factor=1)
    ours = feed(optim.optimizer(rule=rule, learning_rate=0.05), start, gradients)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-7)


def feed(optimizer, start, gradients):
    with jax.enable_x64(True):
        params = {"kernel": jnp.asarray(start)}
        state = optimizer.init(params)
        for gradient in gradients:
            updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params["kernel"])


def test_lion_by_hand():
    optimizer = optim.optimizer(rule=optim.lion(b1=0.5, b2=0.25), learning_rate=0.1)
    # m = 0, g = 4: sign(2); m = 0.75 * 4 = 3, g = -2: sign(0.5 * 3 - 1); m = 0.75 - 1.5, g = 0: sign(-0.375).
    np.testing.assert_allclose(feed(optimizer, [[1.0]], [[[4.0]], [[-2.0]], [[0.0]]]), [[1 - 0.1 - 0.1 + 0.1]])


def test_lamb_first_step_has_the_norm_of_the_parameter():
    start = np.array([[3.0, 4.0]])
    moved = feed(optim.optimizer(rule=optim.lamb(), learning_rate=0.01), start, [np.array([[0.1, -7.0]])])
    np.testing.assert_allclose(np.linalg.norm(moved - start), 0.01 * 5, rtol=1e-5)


def test_lamb_decays_matrices_inside_the_scaling():
    start = np.array([[3.0, 4.0]])
    moved = feed(optim.optimizer(rule=optim.lamb(weight_decay=0.5), learning_rate=0.01), start, [np.zeros((1, 2))])
    np.testing.assert_allclose(moved, start * (1 - 0.01), rtol=1e-6)  # the scaling gives the decay the full norm


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_adafactor_keeps_less_than_adam(momentum):
    params = {"kernel": jnp.zeros((256, 512))}
    size = sum(leaf.size for leaf in jax.tree.leaves(optim.adafactor(momentum=momentum).init(params)))
    assert size < 0.01 * 256 * 512 + (256 * 512 if momentum else 0)


RULES = {
    "sgd": (optim.sgd(), 2e-3, 3000),
    "momentum": (optim.sgd(momentum=0.9), 1e-3, 1500),
    "nesterov": (optim.sgd(momentum=0.9, nesterov=True), 1e-3, 1500),
    "dampening": (optim.sgd(momentum=0.9, dampening=0.5), 1e-3, 2000),
    "adam": (optim.adam(), 0.05, 1000),
    "nadam": (optim.nadam(), 0.05, 1000),
    "radam": (optim.radam(), 0.05, 1000),
    "adamax": (optim.adamax(), 0.05, 1500),
    "lion": (optim.lion(), 2e-3, 3000),
    "lamb": (optim.lamb(), 0.01, 2000),
    "rmsprop": (optim.rmsprop(), 5e-3, 2000),
    "rmsprop_centered": (optim.rmsprop(centered=True, eps=1e-3, momentum=0.5), 1e-3, 3000),
    "adagrad": (optim.adagrad(), 0.5, 3000),
    "adadelta": (optim.adadelta(), 1.0, 6000),
    "adafactor": (optim.adafactor(), 0.02, 2000),
    "muon": (optim.muon(), 2e-3, 3000),
    "optax": (optax.scale_by_yogi(), 0.05, 2000),
}


def rosenbrock(params):
    x, y = params["kernel"][0, 0], params["bias"][0]
    return (1 - x) ** 2 + 10 * (y - x**2) ** 2


@pytest.mark.parametrize("name", RULES)
def test_minimises_rosenbrock(name):
    rule, learning_rate, steps = RULES[name]
    optimizer = optim.optimizer(rule=rule, learning_rate=optim.cosine(peak=learning_rate, steps=steps))
    # Positive, as the rules that scale with the parameter cannot cross zero.
    params = {"kernel": jnp.full((1, 1), 0.2), "bias": jnp.ones(1)}
    assert rosenbrock(params) > 5

    @jax.jit
    def run(params, state):
        def body(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(rosenbrock)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, state), None, length=steps)[0]

    params, _ = run(params, optimizer.init(params))
    assert rosenbrock(params) < 0.05


def test_centered_rmsprop_survives_constant_gradients():
    """The variance of a constant is zero, and less than zero once rounded."""
    rule = optim.rmsprop(centered=True)
    params = {"kernel": jnp.full((4, 4), 0.1)}
    state = rule.init(params)
    for _ in range(300):
        updates, state = rule.update({"kernel": jnp.full((4, 4), 0.3)}, state, params)
    assert np.isfinite(updates["kernel"]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.sgd(nesterov=True), "needs momentum above 0"),
        (lambda: optim.sgd(momentum=0.9, nesterov=True, dampening=0.1), "dampening=0.1"),
        (lambda: optim.sgd(momentum=1.0), r"momentum is 1.0; it must be in \[0, 1\)"),
        (lambda: optim.adam(b2=1.5), "b2 is 1.5"),
        (lambda: optim.adafactor(momentum=-1.0), "momentum is -1.0"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
