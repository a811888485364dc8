"""Recurrent layers equal PyTorch's, and a row's result is that of the row alone without padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.nn.recurrent import Recurrent, RecurrentCell, last_hidden, length_mask

BATCH, TOKENS, INPUTS, WIDTH = 4, 7, 5, 6
LENGTHS = np.array([7, 1, 4, 6], np.int32)
KINDS = ("lstm", "gru", "rnn")
each_kind = pytest.mark.parametrize("kind", KINDS)


def their_parameters(theirs, kind):
    """Our tree of a PyTorch module's parameters."""
    ours = {}
    for layer in range(theirs.num_layers):
        for name, suffix in (("forward", ""), ("backward", "_reverse"))[: 1 + theirs.bidirectional]:
            end = f"l{layer}{suffix}"
            kernel, recurrent, bias, second = (
                getattr(theirs, f"{part}_{end}").detach().numpy()
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            tree = {"kernel": kernel.T, "recurrent_kernel": recurrent.T, "bias": bias + second}
            if kind == "gru":
                tree["bias"] = bias + np.concatenate([second[: 2 * WIDTH], np.zeros(WIDTH, np.float32)])
                tree["recurrent_bias"] = second[2 * WIDTH :]
            ours[f"{name}_{layer}"] = tree
    return {"params": ours}


def make_torch(kind, **options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]
    return torch, make(INPUTS, WIDTH, batch_first=True, **options)


def random_inputs(seed=0, batch=BATCH):
    return np.random.default_rng(seed).normal(size=(batch, TOKENS, INPUTS)).astype(np.float32)


@each_kind
@pytest.mark.parametrize(("layers", "bidirectional", "padded"), [(1, False, False), (2, True, True)])
def test_equals_torch_in_outputs_states_and_gradients(kind, layers, bidirectional, padded):
    torch, theirs = make_torch(kind, num_layers=layers, bidirectional=bidirectional)
    ours = Recurrent(WIDTH, kind, num_layers=layers, bidirectional=bidirectional)
    variables, x = their_parameters(theirs, kind), random_inputs()
    probe = np.random.default_rng(1).normal(size=(BATCH, TOKENS, WIDTH * (1 + bidirectional))).astype(np.float32)
    lengths = jnp.asarray(LENGTHS) if padded else None

    @functools.partial(jax.grad, has_aux=True, argnums=(0, 1))
    def gradient(variables, x):
        outputs, final = ours.apply(variables, x, lengths=lengths)
        return (outputs * probe).sum() + sum((s.hidden**2).sum() for layer in final for s in layer), (outputs, final)

    (grads, grad_x), (outputs, final) = jax.jit(gradient)(variables, x)
    x_torch = torch.tensor(x, requires_grad=True)
    pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    given_x = pack(x_torch, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False) if padded else x_torch
    expected, state = theirs(given_x)
    expected = unpack(expected, batch_first=True)[0] if padded else expected
    hidden, cell = state if kind == "lstm" else (state, None)
    ((expected * torch.tensor(probe)).sum() + (hidden**2).sum()).backward()

    np.testing.assert_allclose(outputs, expected.detach(), atol=1e-5)
    states = [state for layer in final for state in layer]
    np.testing.assert_allclose(np.stack([state.hidden for state in states]), hidden.detach(), atol=1e-5)
    if cell is not None:
        np.testing.assert_allclose(np.stack([state.cell for state in states]), cell.detach(), atol=1e-5)
    np.testing.assert_allclose(grad_x, x_torch.grad, atol=1e-5)
    for index, (layer, name) in enumerate((i, d) for i in range(layers) for d in ("", "_reverse")[: 1 + bidirectional]):
        found = grads["params"][f"{('forward', 'backward')[bool(name)]}_{layer}"]
        for mine, part in (("kernel", "weight_ih"), ("recurrent_kernel", "weight_hh"), ("bias", "bias_ih")):
            reference = getattr(theirs, f"{part}_l{layer}{name}").grad.numpy().T
            np.testing.assert_allclose(found[mine], reference, atol=2e-5, err_msg=f"{index} {mine}")
        if kind == "gru":
            reference = getattr(theirs, f"bias_hh_l{layer}{name}").grad.numpy()[2 * WIDTH :]
            np.testing.assert_allclose(found["recurrent_bias"], reference, atol=2e-5)


@functools.cache
def compiled(kind):
    model = Recurrent(WIDTH, kind, num_layers=2, bidirectional=True)
    variables = model.init(jax.random.key(0), random_inputs())
    return jax.jit(lambda x, lengths=None: model.apply(variables, x, lengths=lengths))


@settings(max_examples=6, deadline=None)
@given(kind=st.sampled_from(KINDS), lengths=st.lists(st.sampled_from([1, 4, TOKENS]), min_size=BATCH, max_size=BATCH))
def test_a_padded_row_gives_what_it_gives_alone(kind, lengths):
    run, x = compiled(kind), random_inputs(2)
    outputs, final = run(x, jnp.asarray(lengths, jnp.int32))
    for row, length in enumerate(lengths):
        alone, state = run(x[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)
        np.testing.assert_array_equal(outputs[row, length:], 0)
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b[0], atol=1e-6), final, state)


def test_an_empty_row_keeps_the_initial_state_and_padding_gets_no_gradient():
    model, x = Recurrent(WIDTH, bidirectional=True), random_inputs()
    variables = model.init(jax.random.key(0), x)
    lengths = jnp.array([3, 0, 7, 1])
    _, final = model.apply(variables, x, lengths=lengths)
    np.testing.assert_array_equal(last_hidden(final)[1], 0)
    gradient = jax.grad(lambda x: (model.apply(variables, x, lengths=lengths)[0] ** 2).sum())(x)
    np.testing.assert_array_equal((np.asarray(gradient) != 0).all(-1), length_mask(lengths, TOKENS))


@each_kind
def test_cut_in_two_is_the_same_as_whole_and_as_step_by_step(kind):
    model, x = Recurrent(WIDTH, kind, num_layers=2), random_inputs()
    variables = model.init(jax.random.key(0), x)
    whole, final = model.apply(variables, x)
    first, middle = model.apply(variables, x[:, :3])
    second, end = model.apply(variables, x[:, 3:], initial=middle)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), end, final)
    cell, state = RecurrentCell(WIDTH, kind), None
    for token in range(TOKENS):
        state = cell.apply({"params": variables["params"]["forward_0"]}, x[:, token], state)
    np.testing.assert_allclose(state.hidden, final[0][0].hidden, atol=1e-6)


@each_kind
@pytest.mark.parametrize("option", [{"unroll": 3}, {"remat": True}])
def test_how_it_runs_does_not_change_what_it_gives(kind, option):
    x, lengths = random_inputs(), jnp.asarray(LENGTHS)
    plain, other = (Recurrent(WIDTH, kind, bidirectional=True, **options) for options in ({}, option))
    variables = plain.init(jax.random.key(0), x)

    def gradient(model):
        return jax.jit(jax.grad(lambda v: jnp.sin(model.apply(v, x, lengths=lengths)[0]).sum()))(variables)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradient(plain), gradient(other))


def test_activation_replaces_tanh():
    torch, theirs = make_torch("rnn", nonlinearity="relu")
    x = random_inputs()
    outputs, _ = Recurrent(WIDTH, "rnn", activation="relu").apply(their_parameters(theirs, "rnn"), x)
    np.testing.assert_allclose(outputs, theirs(torch.tensor(x))[0].detach(), atol=1e-5)


def test_initial_values():
    params = RecurrentCell(WIDTH).init(jax.random.key(0), random_inputs()[:, 0])["params"]
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], WIDTH))
    for block in np.split(np.asarray(params["recurrent_kernel"]), 4, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(WIDTH), atol=1e-5)
    plain = RecurrentCell(WIDTH, forget_bias=0.0).init(jax.random.key(0), random_inputs()[:, 0])["params"]
    np.testing.assert_array_equal(plain["bias"], 0)


@each_kind
def test_dropout_is_between_layers_and_in_training_only(kind):
    x = random_inputs()
    model = Recurrent(WIDTH, kind, num_layers=2, dropout_rate=0.5)
    variables = model.init(jax.random.key(0), x)
    drop = functools.partial(model.apply, variables, x, train=True)
    (kept, first), (other, second) = (drop(rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2))
    assert (kept != other).any()
    np.testing.assert_array_equal(first[0][0].hidden, second[0][0].hidden)
    without = Recurrent(WIDTH, kind, num_layers=2).apply(variables, x, train=True)[0]
    np.testing.assert_array_equal(model.apply(variables, x)[0], without)


@each_kind
def test_half_precision_keeps_the_memory_of_an_lstm_in_single(kind):
    x = random_inputs()
    model = Recurrent(WIDTH, kind, dtype="bfloat16")
    variables = model.init(jax.random.key(0), x)
    outputs, final = model.apply(variables, x, lengths=jnp.asarray(LENGTHS))
    assert outputs.dtype == jnp.bfloat16
    assert final[0][0].cell is None or final[0][0].cell.dtype == jnp.float32
    single = Recurrent(WIDTH, kind).apply(variables, x, lengths=jnp.asarray(LENGTHS))[0]
    np.testing.assert_allclose(outputs.astype(jnp.float32), single, atol=0.03)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="lstm, gru, rnn, not 'ltsm'"):
        RecurrentCell(WIDTH, "ltsm")
    with pytest.raises(ValueError, match="num_layers must be at least 1, not 0"):
        Recurrent(WIDTH, num_layers=0)
    with pytest.raises(ValueError, match="not both"):
        Recurrent(WIDTH).init(jax.random.key(0), random_inputs(), lengths=LENGTHS, token_mask=np.ones((4, 7)))
