import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import sinusoids
from jaxdl.nn.relative_attention import RelativeAttention


def by_loops(params, x, kept):
    """The four terms of Dai et al. 2019, section 3.3, query by query and key by key, for one row and one head."""
    query, key, value = (x @ params[name]["kernel"] + params[name]["bias"] for name in ("query", "key", "value"))
    table, count = sinusoids(len(x), x.shape[1]), len(x)
    signs = np.tile([-1.0, 1.0], x.shape[1] // 2)
    heads, width = params["content_bias"].shape
    out = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        content, position = params["content_bias"][head], params["position_bias"][head]
        for t in range(count):
            scores = np.full(count, -np.inf)
            for s in np.flatnonzero(kept):
                distance = table[t - s] if t >= s else table[s - t] * signs
                moved = (distance @ params["position"]["kernel"])[part]
                scores[s] = (query[t, part] + content) @ key[s, part] + (query[t, part] + position) @ moved
            weights = np.exp((scores - scores.max()) / np.sqrt(width))
            out[t, part] = weights / weights.sum() @ value[:, part]
    return out @ params["out"]["kernel"] + params["out"]["bias"]


@pytest.mark.parametrize("count", [1, 6])
def test_equals_the_four_terms_of_the_paper(count):
    module = RelativeAttention(8, 2)
    x = jax.random.normal(jax.random.key(0), (2, count, 8))
    variables = jax.jit(lambda: module.init(jax.random.key(1), x, train=False))()
    leaves, structure = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(5), len(leaves))
    params = jax.tree.unflatten(structure, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])
    kept = np.arange(count)[None] < np.array([[count], [max(count - 2, 1)]])
    mask = jnp.asarray(kept)[:, None, None]
    found = jax.jit(lambda params: module.apply({"params": params}, x, mask=mask, train=False))(params)
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for row in range(2):
        np.testing.assert_allclose(found[row], by_loops(arrays, np.asarray(x[row], np.float64), kept[row]), atol=1e-5)


def test_weights_are_dropped_in_training_only():
    module, x = RelativeAttention(8, 2, dropout_rate=0.5), jnp.ones((1, 4, 8)) * jnp.arange(4)[None, :, None]
    variables = jax.jit(lambda: module.init(jax.random.key(1), x, train=False))()

    @jax.jit
    def run(seed):
        return module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()


@pytest.mark.parametrize(("features", "heads"), [(8, 3), (9, 3)])
def test_what_does_not_fit_is_refused(features, heads):
    with pytest.raises(ValueError, match=f"{features} features must be even and a multiple of {heads} heads"):
        RelativeAttention(features, heads)
