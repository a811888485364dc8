"""What every decoder promises of its cache, of padding and of packed documents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

LENGTHS = np.array([5, 1, 3])
COUNT = 10
NOISE = 0.1


def variables_of(model, *inputs, **others):
    """The variables of `init` with noise, so that biases and scales act."""
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), *inputs, **others)
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        structure, [leaf + NOISE * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)]
    )


def check_cache(whole, step, cache, vocabulary, atol=1e-5):
    """Checks that a cache gives the logits that are had without it.

    Args:
      whole: `tokens -> logits` without a cache.
      step: `(tokens, token_mask, cache) -> (logits, cache)`.
      cache: An empty one for 3 rows, with room for at least 10 tokens each.
      vocabulary: Number of tokens.
      atol: How far logits may differ.
    """
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, vocabulary, (3, COUNT)), jnp.int32)
    expected = jax.jit(whole)(tokens)
    traces = []

    @jax.jit
    def counted(tokens, token_mask, cache):
        traces.append(tokens.shape)
        return step(tokens, token_mask, cache)

    for cuts in ((4, 5, 7), range(1, COUNT)):
        found, now = [], cache
        for part in np.split(np.asarray(tokens), list(cuts), axis=1):
            logits, now = counted(part, np.ones(part.shape, np.int32), now)
            found.append(logits)
        np.testing.assert_allclose(jnp.concatenate(found, axis=1), expected, rtol=0, atol=atol)
        assert now.length.tolist() == [COUNT] * 3
    _check_unequal(counted, cache, np.asarray(tokens), expected, atol)
    assert sorted(traces) == sorted(set(traces)), "a step was compiled more than once"


def _check_unequal(step, cache, tokens, expected, atol):
    """Prompts of several lengths, padded behind, then two tokens at once, then one at a time."""
    real = np.arange(LENGTHS.max())[None] < LENGTHS[:, None]
    logits, cache = step(np.where(real, tokens[:, : LENGTHS.max()], 0), real.astype(np.int32), cache)
    np.testing.assert_allclose(logits[real], expected[:, : LENGTHS.max()][real], rtol=0, atol=atol)
    rows, places = np.arange(3)[:, None], LENGTHS[:, None]
    for count in (2, 1, 1):
        now = places + np.arange(count)[None]
        logits, cache = step(tokens[rows, now], np.ones(now.shape, np.int32), cache)
        np.testing.assert_allclose(logits, expected[rows, now], rtol=0, atol=atol)
        places = places + count


def check_packing(model, variables, vocabulary, atol=1e-5):
    """Checks that documents packed into one row give what each gives alone, and padding behind changes nothing."""
    tokens = jnp.asarray(np.random.default_rng(1).integers(0, vocabulary, (1, 9)), jnp.int32)
    segments = jnp.asarray([[1] * 4 + [2] * 3 + [0] * 2])
    positions = jnp.asarray([[0, 1, 2, 3, 0, 1, 2, 0, 0]])
    apply = jax.jit(functools.partial(model.apply, train=False))
    packed = apply(variables, tokens, segments=segments, positions=positions)
    padded = apply(variables, tokens, token_mask=(segments == 1).astype(jnp.int32))
    for part in (slice(0, 4), slice(4, 7)):
        alone = apply(variables, tokens[:, part])
        np.testing.assert_allclose(packed[:, part], alone, rtol=0, atol=atol)
    np.testing.assert_allclose(padded[:, :4], packed[:, :4], rtol=0, atol=atol)


def check_scan(model, inputs, atol=1e-5):
    """Checks that scanned and recomputed layers have the same parameters, outputs and gradients."""
    variables = variables_of(model, **inputs)

    def loss(params, model):
        logits = model.apply({"params": params}, **inputs, train=False)
        return jnp.sum(jnp.sin(logits)), logits

    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    expected, logits = gradient(variables["params"], model)
    for options in ({"remat": True}, {"scan": True, "remat": True}):
        changed = model.clone(**options)
        made = jax.eval_shape(lambda: changed.init(jax.random.key(0), **inputs, train=False))  # noqa: B023
        assert jax.tree.structure(made) == jax.tree.structure(variables)
        found, scanned = gradient(variables["params"], changed)
        np.testing.assert_allclose(scanned, logits, rtol=0, atol=atol)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
            np.testing.assert_allclose(one, other, rtol=0, atol=atol * max(1.0, float(jnp.abs(other).max())))
