"""Mixtures of experts: Mixtral's numbers, one result however it is computed, and what a capacity drops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.nn.moe import MixtureOfExperts, load_balance_loss, router_z_loss

pytestmark = pytest.mark.slow  # Many programs to compile.

BATCH, TOKENS, WIDTH, HIDDEN, EXPERTS = 3, 5, 6, 7, 4
WAYS = ({"implementation": "blocks"}, {"implementation": "ragged"}, {"implementation": "dense"}, {"capacity_factor": 4})
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: str(*way.values()))


def make(seed=0, **options):
    settings = {"top_k": 2, "activation": "silu", "gated": True} | options
    model = MixtureOfExperts(WIDTH, HIDDEN, EXPERTS, **settings)
    x = jax.random.normal(jax.random.key(seed), (BATCH, TOKENS, WIDTH))
    return model, model.init(jax.random.key(1), x, train=False), x


def silu(x):
    return x / (1 + np.exp(-x))


def by_hand(model, params, x_BTD, mask_BT):
    """A loop over the tokens and their experts."""
    y = np.zeros(x_BTD.shape, np.float32)
    room = np.full((len(x_BTD), EXPERTS), np.inf)
    if model.capacity_factor is not None:
        room[:] = np.ceil(model.capacity_factor * model.top_k * x_BTD.shape[1] / EXPERTS)
    x_BTD, params = np.asarray(x_BTD), jax.tree.map(np.asarray, params)
    scores = np.exp(x_BTD @ params["router"]["kernel"])
    probability = scores / scores.sum(-1, keepdims=True)
    best = np.argsort(-probability, axis=-1)[..., : model.top_k]
    for choice in range(model.top_k):
        for row, token in np.ndindex(x_BTD.shape[:2]):
            expert, x = best[row, token, choice], x_BTD[row, token]
            if not mask_BT[row, token] or not room[row, expert]:
                continue
            room[row, expert] -= 1
            hidden = x @ params["up"]["kernel"][expert]
            hidden = silu(x @ params["gate"]["kernel"][expert]) * hidden if model.gated else silu(hidden)
            weight = probability[row, token, expert]
            weight = weight / probability[row, token, best[row, token]].sum() if model.normalize else weight
            y[row, token] += weight * (hidden @ params["down"]["kernel"][expert])
    return y


@each_way
def test_equals_mixtral_in_outputs_gradients_and_loss(way):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

    config = transformers.MixtralConfig(
        hidden_size=WIDTH, intermediate_size=HIDDEN, num_local_experts=EXPERTS, num_experts_per_tok=2
    )
    config._experts_implementation = "eager"
    torch.manual_seed(0)
    theirs = MixtralSparseMoeBlock(config)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model, _, x = make(**way)
    gate_up, down = (p.detach().numpy() for p in (theirs.experts.gate_up_proj, theirs.experts.down_proj))
    gate, up = np.split(gate_up, 2, axis=1)
    turned = {"gate": gate, "up": up, "down": down}
    params = {name: {"kernel": jnp.asarray(kernel.swapaxes(1, 2))} for name, kernel in turned.items()}
    params["router"] = {"kernel": jnp.asarray(theirs.gate.weight.detach().numpy().T)}

    def loss(params, x):
        y, routing = model.apply({"params": params}, x, train=True)
        return (y**2).sum() + load_balance_loss(routing), (y, load_balance_loss(routing))

    (grads, grad_x), (y, balance) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
    x_torch = torch.tensor(np.asarray(x), requires_grad=True)
    logits = x_torch.reshape(-1, WIDTH) @ theirs.gate.weight.T
    expected, expected_balance = theirs(x_torch), load_balancing_loss_func((logits,), EXPERTS, 2)
    ((expected**2).sum() + expected_balance).backward()

    np.testing.assert_allclose(y, expected.detach(), atol=1e-5)
    np.testing.assert_allclose(balance, expected_balance.detach(), atol=1e-5)
    np.testing.assert_allclose(grad_x, x_torch.grad, atol=1e-4)
    np.testing.assert_allclose(grads["router"]["kernel"].T, theirs.gate.weight.grad, atol=1e-4)
    theirs_gate, theirs_up = np.split(theirs.experts.gate_up_proj.grad.numpy(), 2, axis=1)
    for name, reference in (("gate", theirs_gate), ("up", theirs_up), ("down", theirs.experts.down_proj.grad.numpy())):
        np.testing.assert_allclose(grads[name]["kernel"].swapaxes(1, 2), reference, atol=1e-4, err_msg=name)


@settings(max_examples=8, deadline=None)
@given(
    way=st.sampled_from([*WAYS, {"capacity_factor": 0.5}, {"capacity_factor": 1.0}]),
    top_k=st.integers(1, 3),
    normalize=st.booleans(),
    gated=st.booleans(),
    seed=st.integers(0, 9),
)
def test_equals_a_loop_over_tokens_with_padding(way, top_k, normalize, gated, seed):
    model, variables, x = make(seed, top_k=top_k, normalize=normalize, gated=gated, **way)
    mask = np.random.default_rng(seed).random((BATCH, TOKENS)) < 0.7
    y, routing = jax.jit(lambda x, mask: model.apply(variables, x, token_mask=mask, train=False))(x, mask)
    np.testing.assert_allclose(y, by_hand(model, variables["params"], x, mask), atol=1e-5)
    np.testing.assert_array_equal(routing.tokens, mask.sum(1))
    np.testing.assert_array_equal(routing.assigned.sum(1), top_k * mask.sum(1))


@each_way
def test_padding_takes_no_room_and_gives_no_gradient(way):
    model, variables, x = make(**way)
    mask = jnp.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])

    def total(variables, x):
        y, routing = model.apply(variables, x, token_mask=mask, train=True)
        return (y**2).sum() + router_z_loss(routing) + load_balance_loss(routing)

    grads, grad_x = jax.jit(jax.grad(total, (0, 1)))(variables, x)
    np.testing.assert_array_equal((np.asarray(grad_x) != 0).any(-1), mask)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(grads))


def test_a_full_expert_takes_the_first_tokens_and_no_padding():
    model, variables, _ = make(top_k=1, capacity_factor=EXPERTS * 2 / TOKENS, normalize=False)
    x = jnp.ones((2, TOKENS, WIDTH))
    mask = jnp.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1]])
    y, routing = model.apply(variables, x, token_mask=mask, train=False)
    np.testing.assert_array_equal((np.asarray(y) != 0).any(-1), [[1, 1, 0, 0, 0], [0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(routing.dropped, [3, 1])


def test_rows_do_not_depend_on_one_another_with_a_capacity():
    model, variables, x = make(capacity_factor=0.7)
    y, _ = model.apply(variables, x, train=False)
    alone, _ = model.apply(variables, x[1:2], train=False)
    np.testing.assert_allclose(y[1], alone[0], atol=1e-6)


def test_routing_adds_up_over_parts_of_a_batch():
    model, variables, x = make()
    _, whole = model.apply(variables, x, train=False)
    parts = [model.apply(variables, x[rows], train=False)[1] for rows in (slice(0, 1), slice(1, 3))]
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)
    np.testing.assert_allclose(load_balance_loss(joined), load_balance_loss(whole), atol=1e-6)
    logits = x @ variables["params"]["router"]["kernel"]
    np.testing.assert_allclose(router_z_loss(whole), (jax.nn.logsumexp(logits, -1) ** 2).mean(), atol=1e-5)
    by_row = [load_balance_loss(jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], whole)) for row in range(BATCH)]
    np.testing.assert_allclose(load_balance_loss(whole, by_row=True), by_row, atol=1e-6)


def test_an_even_router_has_the_least_loss():
    model, variables, x = make(top_k=1)
    even = jax.tree.map(jnp.zeros_like, variables)
    _, routing = model.apply(even, x, train=False)
    np.testing.assert_allclose(load_balance_loss(routing), 1.0, atol=1e-6)
    np.testing.assert_allclose(router_z_loss(routing), np.log(EXPERTS) ** 2, atol=1e-5)


def test_jitter_and_dropout_act_in_training_only():
    for options in ({"jitter": 0.3}, {"dropout_rate": 0.3}):
        model, variables, x = make(**options)
        apply = jax.jit(lambda seed, model=model, v=variables, x=x: model.apply(
            v, x, train=True, rngs={"dropout": jax.random.key(seed)})[0])  # fmt: skip
        assert (apply(0) != apply(1)).any()
        plain = make()[0].apply(variables, x, train=True)[0]
        np.testing.assert_array_equal(model.apply(variables, x, train=False)[0], plain)


def test_half_precision_routes_in_single():
    model, variables, x = make(dtype="bfloat16")
    y, routing = model.apply(variables, x, train=False)
    single, reference = make()[0].apply(variables, x, train=False)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(routing.probability, reference.probability)
    np.testing.assert_allclose(y.astype(jnp.float32), single, atol=0.05)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="top_k must be from 1 to num_experts=4, not 5"):
        make(top_k=5)
    with pytest.raises(ValueError, match="capacity_factor must be positive"):
        make(capacity_factor=0.0)
    with pytest.raises(ValueError, match="only where capacity_factor is None"):
        make(capacity_factor=1.0, implementation="ragged")
