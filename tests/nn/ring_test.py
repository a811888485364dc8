"""Keys and values that go round the devices give what attention gives on one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.nn import attend, segment_attention_mask
from jaxdl.parallel import make_mesh

B, T, H, G, K = 2, 16, 4, 2, 8
MESH = make_mesh({"data": 2, "sequence": 4})
SEGMENTS = segment_attention_mask(jnp.array([[0] * 5 + [1] * 11, [0] * 9 + [1] * 7]))
PADDING = (jnp.arange(T) < 12)[None, None, None]
CASES = {
    "whole": {},
    "causal": {"causal": True},
    "causal window": {"causal": True, "window": 5},
    "window": {"window": 3},
    "segments": {"causal": True, "mask": SEGMENTS},
    "padding": {"causal": True, "mask": PADDING},
    "mask of heads": {"mask": jnp.broadcast_to(SEGMENTS & PADDING, (B, H, T, T))},
    "scale": {"causal": True, "scale": 0.7},
}


def drawn(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((B, T, H, K), (B, T, G, K), (B, T, G, K), (B, T, H, K))
    return [jax.random.normal(key, shape).astype(dtype) for key, shape in zip(keys, shapes)]


def result_and_gradients(inputs, implementation, mesh=None, **options):
    *inputs, weights = inputs

    def total(*inputs):
        out = attend(*inputs, implementation=implementation, **options)
        return jnp.sum(out * weights), out

    grad = jax.grad(total, (0, 1, 2), has_aux=True)
    if mesh is None:
        return jax.jit(grad)(*inputs)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return jax.jit(grad)(*jax.device_put(inputs, NamedSharding(mesh, P("data", "sequence"))))


@pytest.mark.parametrize("case", CASES)
def test_the_ring_gives_the_numbers_of_one_device(case):
    gradients, out = result_and_gradients(drawn(), "plain", **CASES[case])
    ring_gradients, ring_out = result_and_gradients(drawn(), "ring", MESH, **CASES[case])
    np.testing.assert_allclose(ring_out, out, atol=2e-6)
    for ours, theirs in zip(ring_gradients, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-6)


def test_half_precision_stays_near():
    gradients, out = result_and_gradients(drawn(), "plain", causal=True)
    halves, half = result_and_gradients(drawn(jnp.bfloat16), "ring", MESH, causal=True)
    assert half.dtype == halves[1].dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), out, atol=0.04)
    for ours, theirs in zip(halves, gradients, strict=True):
        np.testing.assert_allclose(ours.astype(np.float32), theirs, atol=0.15)


def test_it_is_what_a_mesh_with_sequence_gets_and_gathers_nothing():
    inputs = jax.device_put(drawn()[:3], NamedSharding(MESH, P("data", "sequence")))
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        text, gathered = (
            jax.jit(lambda *x, way=way: attend(*x, causal=True, implementation=way)).lower(*inputs).compile().as_text()
            for way in (None, "plain")
        )
    assert re.search(r"collective-permute(-start)?\(", text)
    assert not re.search(r"all-gather(-start)?\(", text)
    assert re.search(r"all-gather(-start)?\(", gathered)


def test_without_a_mesh_it_is_what_would_be_chosen():
    out = attend(*drawn()[:3], causal=True, implementation="ring")
    np.testing.assert_array_equal(out, attend(*drawn()[:3], causal=True))


def test_what_it_cannot_do_is_told():
    query, key, value, _ = drawn()
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        with pytest.raises(ConfigError, match="4 devices, not 14 and 14: choose a length"):
            attend(query[:, :14], key[:, :14], value[:, :14], implementation="ring")
        with pytest.raises(ValueError, match="no bias and no dropout"):
            attend(query, key, value, bias=jnp.zeros((T, T)), implementation="ring")
