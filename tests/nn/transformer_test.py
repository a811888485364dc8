from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdl.nn import (
    Attention,
    BatchNorm,
    Cache,
    FeedForward,
    KeyValue,
    LayerCache,
    Layers,
    Rotary,
    TransformerLayer,
    rising,
    token_attention_mask,
)

torch = pytest.importorskip("torch")
D, H, COUNT = 16, 4, 3


def layer(*, cross=False, dropout_rate=0.0, order="pre", causal=False, **options):
    attention = partial(Attention, D, H, dropout_rate=dropout_rate)
    return partial(
        TransformerLayer,
        attention=partial(attention, causal=causal, rotary=Rotary() if causal else None),
        feedforward=partial(FeedForward, D, 2 * D, activation="relu", dropout_rate=dropout_rate),
        norm=partial(nn.LayerNorm, epsilon=1e-5),
        cross_attention=partial(attention, cross=True) if cross else None,
        dropout_rate=dropout_rate,
        order=order,
        **options,
    )


def noisy(params):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    return jax.tree.unflatten(structure, [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])


def made(module, *args, **options):
    params = jax.jit(lambda: module.init(jax.random.key(0), *args, train=False, **options))()["params"]
    return noisy(params)


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), found, expected)


X, CONTEXT = jax.random.normal(jax.random.key(2), (2, 2, 6, D))
KEPT = jnp.arange(6)[None] < jnp.array([[6], [4]])


def load(theirs, prefix, params):
    """Copies one attention of ours into torch's."""
    state = theirs.state_dict()
    for name in ("kernel", "bias"):
        stacked = np.concatenate([np.asarray(params[part][name]).T for part in ("query", "key", "value")])
        state[f"{prefix}.in_proj_{'weight' if name == 'kernel' else 'bias'}"] = torch.tensor(stacked)
        state[f"{prefix}.out_proj.{'weight' if name == 'kernel' else 'bias'}"] = torch.tensor(
            np.asarray(params["out"][name]).T
        )
    theirs.load_state_dict(state)


def load_rest(theirs, params, norms):
    state = theirs.state_dict()
    for number, part in enumerate(("up", "down"), 1):
        state[f"linear{number}.weight"] = torch.tensor(np.asarray(params["feedforward"][part]["kernel"]).T)
        state[f"linear{number}.bias"] = torch.tensor(np.asarray(params["feedforward"][part]["bias"]))
    for number, name in enumerate(norms, 1):
        state[f"norm{number}.weight"] = torch.tensor(np.asarray(params[name]["scale"]))
        state[f"norm{number}.bias"] = torch.tensor(np.asarray(params[name]["bias"]))
    theirs.load_state_dict(state)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_equals_the_encoder_layer_of_torch(order):
    module = layer(order=order)()
    params = made(module, X)
    theirs = torch.nn.TransformerEncoderLayer(D, H, 2 * D, dropout=0.0, batch_first=True, norm_first=order == "pre")
    load(theirs, "self_attn", params["attention"])
    load_rest(theirs, params, ("attention_norm", "feedforward_norm"))
    expected = theirs(torch.tensor(np.asarray(X)), src_key_padding_mask=torch.tensor(~np.asarray(KEPT)))
    found, cache = module.apply({"params": params}, X, mask=token_attention_mask(KEPT), train=False)
    assert cache is None
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_equals_the_decoder_layer_of_torch(order):
    module = layer(order=order, cross=True)()
    context_mask, causal = token_attention_mask(KEPT), jnp.tril(jnp.ones((6, 6), bool))[None, None]
    params = made(module, X, context_BSD=CONTEXT)
    theirs = torch.nn.TransformerDecoderLayer(D, H, 2 * D, dropout=0.0, batch_first=True, norm_first=order == "pre")
    load(theirs, "self_attn", params["attention"])
    load(theirs, "multihead_attn", params["cross_attention"])
    load_rest(theirs, params, ("attention_norm", "cross_attention_norm", "feedforward_norm"))
    expected = theirs(
        *(torch.tensor(np.asarray(x)) for x in (X, CONTEXT)),
        tgt_mask=torch.triu(torch.ones(6, 6, dtype=torch.bool), 1),
        memory_key_padding_mask=torch.tensor(~np.asarray(KEPT)),
    )
    found, _ = module.apply(
        {"params": params}, X, mask=causal, context_BSD=CONTEXT, context_mask=context_mask, train=False
    )
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)


def test_scale_starts_each_branch_at_its_value():
    module = layer(scale_init=0.0, cross=True)()
    variables = jax.jit(lambda: module.init(jax.random.key(0), X, context_BSD=CONTEXT, train=False))()
    scales = {name: leaf.shape for name, leaf in variables["params"].items() if name.endswith("_scale")}
    assert scales == {f"{name}_scale": (D,) for name in ("attention", "cross_attention", "feedforward")}
    found, _ = module.apply(variables, X, context_BSD=CONTEXT, train=False)
    np.testing.assert_array_equal(found, X)


def gradients(module, params, **options):
    def loss(params):
        out, _ = module.apply({"params": params}, X, **options)
        return jnp.sum(jnp.sin(out)), out

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


OTHERS = [{"scan": True}, {"remat": True}, {"scan": True, "remat": True}]


@pytest.mark.parametrize("how", OTHERS)
def test_scan_and_remat_change_neither_parameters_nor_outputs_nor_gradients(how):
    plain, other = (Layers(layer(cross=True), COUNT, **options) for options in ({}, how))
    options = {"context_BSD": CONTEXT, "context_mask": token_attention_mask(KEPT), "train": False}
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(lambda m=m: m.init(jax.random.key(0), X, **options))["params"])
        for m in (plain, other)
    ]
    assert shapes[0] == shapes[1]
    assert set(shapes[0]) == {f"block_{index}" for index in range(COUNT)}
    params = made(plain, X, context_BSD=CONTEXT)
    close(gradients(other, params, **options), gradients(plain, params, **options))


def test_scanned_layers_start_different_and_as_widely_as_others():
    plain, scanned = (Layers(layer(), COUNT, scan=scan) for scan in (False, True))
    params, others = (
        jax.jit(lambda m=m: m.init(jax.random.key(0), X, train=False))()["params"] for m in (plain, scanned)
    )
    kernels = [others[f"block_{index}"]["feedforward"]["up"]["kernel"] for index in range(COUNT)]
    assert (kernels[0] != kernels[1]).any()
    assert (kernels[1] != kernels[2]).any()
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(others)):
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.25)


@pytest.mark.parametrize("how", [{}, *OTHERS])
def test_dropout_differs_by_layer_and_key_whatever_the_loop(how):
    module = Layers(layer(dropout_rate=0.4), COUNT, **how)
    params = made(module, X)
    blocks = jax.tree.map(lambda *leaves: leaves[0], *(params[f"block_{index}"] for index in range(COUNT)))
    alike = {f"block_{index}": blocks for index in range(COUNT)}

    @jax.jit
    def run(seed):
        return module.apply({"params": alike}, X, train=True, rngs={"dropout": jax.random.key(seed)})[0]

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()


class Noise(nn.Module):
    """Gives the number that its dropout stream starts with."""

    @nn.compact
    def __call__(self, x, *, train):
        return x, jax.random.uniform(self.make_rng("dropout"))


@pytest.mark.parametrize("how", [{}, *OTHERS])
def test_each_layer_has_random_numbers_of_its_own(how):
    module = Layers(Noise, 4, **how)
    _, numbers = module.apply({}, X, train=True, rngs={"dropout": jax.random.key(1)})
    assert len({float(number) for number in numbers}) == 4


class Rate(nn.Module):
    """Gives back what its layer was told of its own."""

    @nn.compact
    def __call__(self, x, *, drop_rate=-1.0, train):
        return x + self.param("bias", nn.initializers.zeros, (D,), jnp.float32)[None, None], drop_rate


@pytest.mark.parametrize("how", [{}, *OTHERS])
def test_each_layer_is_told_its_own_rate(how):
    module = Layers(Rate, 4, **how)
    own = rising(0.3, 4)
    _, rates = jax.jit(lambda: module.init_with_output(jax.random.key(0), X, own=own, train=True)[0])()
    np.testing.assert_allclose([float(rate) for rate in rates], [0, 0.1, 0.2, 0.3], atol=1e-6)


def test_rates_rise_to_the_last_layer():
    assert rising(0.0, 5) == ()
    assert rising(0.3, 1) == ({"drop_rate": 0.0},)
    assert [own["drop_rate"] for own in rising(0.4, 5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("how", [{}, {"scan": True}])
def test_stochastic_depth_drops_a_layer_as_often_as_its_rate(how):
    module = Layers(layer(), 2, **how)
    params, x = made(module, X), jnp.broadcast_to(X[:1], (64, 6, D))
    own = ({"drop_rate": 0.0}, {"drop_rate": 0.6})

    @jax.jit
    def run(seed):
        return module.apply({"params": params}, x, own=own, train=True, rngs={"dropout": jax.random.key(seed)})[0]

    first, _ = layer()().apply({"params": params["block_0"]}, X[:1], train=False)
    outs = jnp.concatenate([run(seed) for seed in range(8)])
    untouched = np.isclose(outs, first, atol=1e-5).all((1, 2))
    # Both branches of the second layer must be dropped; none of the first ever is.
    assert untouched.mean() == pytest.approx(0.36, abs=0.08)


class Counting(nn.Module):
    """A layer with running statistics."""

    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(name="norm")(x, train=train), None


def test_layers_with_statistics_are_refused_when_scanned():
    with pytest.raises(ValueError, match=r"\['batch_stats'\] cannot be scanned: set scan=False"):
        Layers(Counting, 2, scan=True).init(jax.random.key(0), X, train=False)
    variables = Layers(Counting, 2).init(jax.random.key(0), X, train=False)
    with pytest.raises(ValueError, match="cannot be scanned: set scan=False"):
        Layers(Counting, 2, scan=True).apply(variables, X, train=False)


def test_running_statistics_are_kept_otherwise():
    for remat in (False, True):
        module = Layers(Counting, 2, remat=remat)
        variables = module.init(jax.random.key(0), X, train=False)
        _, state = module.apply(variables, X, train=True, mutable=["batch_stats"])
        for name in ("block_0", "block_1"):
            before, after = (v["batch_stats"][name]["norm"]["mean"] for v in (variables, state))
            assert (before != after).any()


def test_a_cache_in_pieces_equals_the_whole_for_rows_of_unequal_length():
    stack = Layers(layer(causal=True, cross=True), COUNT)
    params = made(stack, X, context_BSD=CONTEXT)
    whole, _ = stack.apply({"params": params}, X, context_BSD=CONTEXT, train=False)

    @jax.jit
    def piece(x, cache, mask=None, context=None):
        own = tuple({"cache": entry} for entry in cache.layers)
        positions = cache.positions(x[..., 0])
        y, layers = stack.apply(
            {"params": params}, x, own=own, context_BSD=context, positions_BT=positions, train=False
        )
        return y, cache.after(layers, mask, x.shape[1])

    # The prompts have 4 and 2 tokens, the second padded behind; then one token at a time.
    mask = jnp.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    prompt = X[:, :4] * mask[..., None] + 100 * (1 - mask[..., None])
    out, cache = piece(prompt, Cache.zeros(COUNT, 2, 6, H, D // H), mask, CONTEXT)
    assert cache.length.tolist() == [4, 2]
    np.testing.assert_allclose(out[0], whole[0, :4], atol=1e-5)
    np.testing.assert_allclose(out[1, :2], whole[1, :2], atol=1e-5)
    for step in range(2):
        tokens = jnp.stack((X[0, 4 + step], X[1, 2 + step]))[:, None]
        out, cache = piece(tokens, cache)
        np.testing.assert_allclose(out[0, 0], whole[0, 4 + step], atol=1e-5)
        np.testing.assert_allclose(out[1, 0], whole[1, 2 + step], atol=1e-5)
    assert cache.length.tolist() == [6, 4]


def test_cache_is_a_pytree_of_arrays_and_counts_tokens():
    cache = Cache.zeros(2, 3, 5, 4, 2, jnp.bfloat16)
    assert {leaf.shape for leaf in jax.tree.leaves(cache.layers)} == {(3, 5, 4, 2)}
    assert {leaf.dtype for leaf in jax.tree.leaves(cache.layers)} == {jnp.dtype(jnp.bfloat16)}
    tokens = jnp.zeros((3, 4), jnp.int32)
    after = cache.after(cache.layers, None, 4)
    assert after.length.tolist() == [4, 4, 4]
    assert after.positions(tokens[:, :2]).tolist() == [[4, 5]] * 3
    assert isinstance(after.layers[0], LayerCache)
    assert isinstance(after.layers[0].tokens, KeyValue)


def test_half_precision_stays_half():
    x = X.astype(jnp.bfloat16)
    make = partial(
        TransformerLayer,
        attention=partial(Attention, D, H, dtype="bfloat16"),
        feedforward=partial(FeedForward, D, 8, dtype="bfloat16"),
        norm=partial(nn.LayerNorm, epsilon=1e-5, dtype="bfloat16"),
        scale_init=0.1,
    )
    for scan in (False, True):
        module = Layers(make, 2, scan=scan)
        variables = jax.eval_shape(lambda m=module: m.init(jax.random.key(0), x, train=False))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert jax.eval_shape(lambda v, m=module: m.apply(v, x, train=False), variables)[0].dtype == jnp.bfloat16
