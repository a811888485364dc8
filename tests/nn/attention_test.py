from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import Attention, KeyValue, Rotary, attend

torch = pytest.importorskip("torch")
B, T, H, K = 2, 150, 4, 8


def drawn(*shapes, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes)]


def row_mask(length=T):
    """Hides the last third of the second row, and nothing of the first."""
    return jnp.stack((jnp.ones(length, bool), jnp.arange(length) < 2 * length // 3))[:, None, None]


def window_mask(length, causal, window):
    behind = np.arange(length)[:, None] - np.arange(length)[None]
    return (np.abs(behind) < window) & ((behind >= 0) | (not causal))


CASES = {
    "whole": {},
    "causal": {"causal": True},
    "window": {"window": 7},
    "causal window": {"causal": True, "window": 70},
    "padding": {"mask": row_mask()},
    "causal padding": {"causal": True, "mask": row_mask()},
    "mask of pairs": {"causal": True, "mask": jnp.asarray(window_mask(T, False, 90))},
    "bias": {"causal": True, "bias": jax.random.normal(jax.random.key(9), (1, H, T, T))},
    "bias of keys": {"bias": jax.random.normal(jax.random.key(9), (T,))},
    "scale": {"causal": True, "scale": 0.7},
}


def by_torch(query, key, value, mask=None, bias=None, causal=False, window=None, scale=None):
    allowed = np.ones((B, H, T, T), bool)
    if mask is not None:
        allowed = allowed & np.asarray(mask)
    if causal or window is not None:
        allowed = allowed & window_mask(T, causal, window or T)
    added = np.where(allowed, 0 if bias is None else np.asarray(bias), -np.inf).astype(np.float32)
    rows = [torch.tensor(np.asarray(x)).transpose(1, 2).requires_grad_() for x in (query, key, value)]
    fn = torch.nn.functional.scaled_dot_product_attention
    out = fn(*rows, attn_mask=torch.tensor(added), scale=scale, enable_gqa=True)
    out.sin().sum().backward()
    return [x.transpose(1, 2).detach().numpy() for x in (out, *(row.grad for row in rows))]


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("case", CASES)
def test_every_implementation_equals_torch_forward_and_backward(case, groups):
    options = CASES[case]
    inputs = drawn((B, T, H, K), (B, T, groups, K), (B, T, groups, K))
    expected = by_torch(*inputs, **options)
    for implementation in ("plain", "blocked", "xla", None):

        @jax.jit
        def run(*inputs, name=implementation):
            out, pull = jax.vjp(partial(attend, implementation=name, **options), *inputs)
            return out, *pull(jnp.cos(out))

        for found, other in zip(run(*inputs), expected):
            np.testing.assert_allclose(found, other, atol=2e-5, err_msg=f"{implementation}")


@pytest.mark.parametrize("implementation", ["plain", "blocked", "xla"])
def test_rows_that_see_nothing_are_finite_and_give_no_gradient(implementation):
    inputs = drawn((B, T, H, K), (B, T, H, K), (B, T, H, K))
    mask = jnp.array([False, True])[:, None, None, None]

    def loss(query, key, value):
        out = attend(query, key, value, mask=mask, causal=True, implementation=implementation)
        return jnp.sum(jnp.sin(out)), out

    grads, out = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(*inputs)
    assert jnp.isfinite(out).all()
    for grad in grads:
        assert jnp.isfinite(grad).all()
        np.testing.assert_array_equal(grad[0], 0)
        assert (grad[1] != 0).any()


def test_a_query_that_sees_nothing_gets_the_mean():
    query, key, value = drawn((1, 3, 2, 4), (1, 5, 2, 4), (1, 5, 2, 4))
    out = attend(query, key, value, mask=jnp.zeros((1, 1, 3, 5), bool))
    np.testing.assert_allclose(out, jnp.broadcast_to(value.mean(1, keepdims=True), out.shape), atol=1e-6)


@pytest.mark.parametrize("implementation", ["plain", "blocked"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_rounds_inputs_weights_and_result_only(implementation, dtype):
    inputs = [x.astype(dtype) for x in drawn((B, T, H, K), (B, T, H, K), (B, T, H, K))]
    out = attend(*inputs, scale=0.5, causal=True, implementation=implementation)
    assert out.dtype == dtype
    exact = attend(*(x.astype(jnp.float32) for x in inputs), scale=0.5, causal=True, implementation="plain")
    rounding = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=2 * rounding)


@pytest.mark.parametrize("implementation", ["plain", "blocked"])
def test_dropout_keeps_the_mean_and_depends_on_its_key_only(implementation):
    query, key, value = drawn((1, 128, 2, 4), (1, 128, 2, 4), (1, 128, 2, 4))
    run = jax.jit(
        lambda seed: attend(
            query,
            key,
            value,
            causal=True,
            dropout_rate=0.3,
            dropout_key=jax.random.key(seed),
            implementation=implementation,
        )
    )
    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    outs = jax.lax.map(run, jnp.arange(600))
    exact = attend(query, key, value, causal=True)
    error = outs.std(0) / np.sqrt(len(outs))
    np.testing.assert_array_less(np.abs(outs.mean(0) - exact), 5.5 * error + 1e-5)
    # The first query has one weight, which is 0 or 1 / 0.7.
    ratio = np.asarray(outs[:, 0, 0] / value[0, 0][None])
    assert np.isclose(ratio, 0).mean() == pytest.approx(0.3, abs=0.06)
    assert (np.isclose(ratio, 0) | np.isclose(ratio, 1 / 0.7)).all()


def test_blocks_draw_dropout_of_their_own():
    ones = jnp.ones((1, 128, 1, 4))
    out = attend(ones, ones, ones, causal=True, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert (out[:, :64] != out[:, 64:]).any()


def test_what_does_not_fit_is_refused():
    query, key = jnp.zeros((1, 3, 4, 8)), jnp.zeros((1, 5, 4, 8))
    with pytest.raises(ValueError, match="not 3 and 5"):
        attend(query, key, key, causal=True)
    with pytest.raises(ValueError, match="3 key and value heads do not divide 4"):
        attend(query, key[:, :, :3], key[:, :, :3])
    with pytest.raises(ValueError, match="xla attention has no dropout"):
        attend(query, key, key, dropout_rate=0.1, dropout_key=jax.random.key(0), implementation="xla")
    with pytest.raises(ValueError, match="3 heads do not divide 8 features"):
        Attention(8, 3)
    with pytest.raises(ValueError, match="num_kv_heads=3 does not divide num_heads=4"):
        Attention(8, 4, num_kv_heads=3)
    with pytest.raises(ValueError, match="needs a context"):
        Attention(8, 2, cross=True).init(jax.random.key(0), jnp.zeros((1, 3, 8)))
    cache = KeyValue.zeros(1, 4, 2, 4)
    with pytest.raises(ValueError, match="needs the positions"):
        Attention(8, 2, causal=True).init(jax.random.key(0), jnp.zeros((1, 3, 8)), cache=cache)


def torch_attention(params, bias):
    theirs = torch.nn.MultiheadAttention(16, 4, bias=bias, batch_first=True)
    with torch.no_grad():
        stacked = [np.asarray(params[name]["kernel"]).T for name in ("query", "key", "value")]
        theirs.in_proj_weight.copy_(torch.tensor(np.concatenate(stacked)))
        theirs.out_proj.weight.copy_(torch.tensor(np.asarray(params["out"]["kernel"]).T))
        if bias:
            stacked = [np.asarray(params[name]["bias"]) for name in ("query", "key", "value")]
            theirs.in_proj_bias.copy_(torch.tensor(np.concatenate(stacked)))
            theirs.out_proj.bias.copy_(torch.tensor(np.asarray(params["out"]["bias"])))
    return theirs


def noisy(params, seed=5):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(structure, [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_module_equals_multihead_attention_of_torch(bias, cross):
    x, context = drawn((2, 5, 16), (2, 7, 16))
    module = Attention(16, 4, cross=cross, use_bias=bias)
    source = context if cross else x
    params = noisy(module.init(jax.random.key(0), x, context_BSD=context)["params"])
    kept = np.arange(source.shape[1])[None] < np.array([[source.shape[1]], [3]])
    found, _ = module.apply({"params": params}, x, context_BSD=context, mask=jnp.asarray(kept)[:, None, None])
    theirs = torch_attention(params, bias)
    ours_to_torch = [torch.tensor(np.asarray(y)) for y in (x, source)]
    expected, _ = theirs(
        ours_to_torch[0], ours_to_torch[1], ours_to_torch[1], key_padding_mask=torch.tensor(~kept), need_weights=False
    )
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)


def test_parameters_have_the_documented_shapes():
    module = Attention(12, 4, num_kv_heads=2, head_dim=5, key_bias=False, out_bias=False, query_key_norm=True)
    shapes = jax.tree.map(jnp.shape, module.init(jax.random.key(0), jnp.zeros((1, 3, 7))))["params"]
    assert shapes == {
        "query": {"kernel": (7, 20), "bias": (20,)},
        "key": {"kernel": (7, 10)},
        "value": {"kernel": (7, 10), "bias": (10,)},
        "out": {"kernel": (20, 12)},
        "query_norm": {"scale": (5,)},
        "key_norm": {"scale": (5,)},
    }


def test_normalized_queries_and_keys_bound_the_scores():
    x = 1e3 * jax.random.normal(jax.random.key(0), (1, 6, 8))
    module = Attention(8, 2, query_key_norm=True, use_bias=False)
    variables = module.init(jax.random.key(1), x)
    small, large = (module.apply(variables, factor * x)[0] / factor for factor in (1, 1e3))
    np.testing.assert_allclose(small, large, rtol=1e-3, atol=1e-2)


def test_module_drops_weights_in_training_only():
    x = jax.random.normal(jax.random.key(0), (2, 6, 8))
    module = Attention(8, 2, dropout_rate=0.5)
    variables = module.init(jax.random.key(1), x)

    def run(seed, train):
        return module.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})[0]

    np.testing.assert_array_equal(run(0, train=False), run(1, train=False))
    np.testing.assert_array_equal(run(0, train=True), run(0, train=True))
    assert (run(0, train=True) != run(1, train=True)).any()


def test_write_replaces_tokens_from_a_place_of_each_row():
    old = KeyValue(*drawn((2, 6, 2, 3), (2, 6, 2, 3)))
    new = KeyValue(*drawn((2, 2, 2, 3), (2, 2, 2, 3), seed=1))
    written = old.write(new, jnp.array([0, 3]))
    for before, part, after in ((old.key, new.key, written.key), (old.value, new.value, written.value)):
        expected = np.array(before)
        expected[0, 0:2], expected[1, 3:5] = part[0], part[1]
        np.testing.assert_array_equal(after, expected)
    half = KeyValue.zeros(2, 6, 2, 3, jnp.bfloat16).write(new, jnp.array([0, 0]))
    assert half.key.dtype == half.value.dtype == jnp.bfloat16


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("pieces", [(7,), (3, 1, 3), (1,) * 7])
def test_pieces_with_a_cache_equal_the_whole(pieces, window):
    x = jax.random.normal(jax.random.key(0), (2, 7, 16))
    module = Attention(16, 4, num_kv_heads=2, causal=True, window=window, rotary=Rotary())
    variables = module.init(jax.random.key(1), x)
    whole, none = module.apply(variables, x)
    assert none is None
    cache, start, outs = KeyValue.zeros(2, 9, 2, 4), 0, []
    for count in pieces:
        positions = jnp.broadcast_to(start + jnp.arange(count), (2, count))
        out, cache = module.apply(variables, x[:, start : start + count], positions_BT=positions, cache=cache)
        outs.append(out)
        start += count
    np.testing.assert_allclose(jnp.concatenate(outs, 1), whole, atol=1e-5)
    np.testing.assert_array_equal(cache.key[:, 7:], 0)


def test_cross_attention_needs_its_context_once():
    x, context, other = drawn((2, 5, 8), (2, 7, 8), (2, 7, 8))
    module = Attention(8, 2, cross=True)
    variables = module.init(jax.random.key(1), x, context_BSD=context)
    whole, cache = module.apply(variables, x, context_BSD=context)
    again, kept = module.apply(variables, x, cache=cache)
    np.testing.assert_allclose(again, whole, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, kept, cache)
    # A new context replaces what was kept of the old one.
    _, replaced = module.apply(variables, x, context_BSD=other, cache=cache)
    _, expected = module.apply(variables, x, context_BSD=other)
    jax.tree.map(np.testing.assert_array_equal, replaced, expected)
