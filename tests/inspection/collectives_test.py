"""Communication read out of compiled programs whose communication is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxdl.inspection import Collective, collectives

AUTO = jax.sharding.AxisType.Auto
MESH = jax.make_mesh((8,), ("x",), axis_types=(AUTO,))


def of(fn, *shapes):
    mapped = jax.shard_map(fn, mesh=MESH, in_specs=P("x"), out_specs=P("x"), check_vma=False)
    return collectives(
        jax.jit(mapped).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile().as_text()
    )


@pytest.mark.parametrize(
    ("fn", "kind", "size", "sent"),
    [
        (lambda x: jax.lax.psum(x, "x"), "all-reduce", 4 * 16, 2 * 7 / 8 * 64),
        (lambda x: jax.lax.all_gather(x, "x", tiled=True), "all-gather", 4 * 128, 7 / 8 * 512),
        (lambda x: jax.lax.psum_scatter(x, "x", tiled=True), "reduce-scatter", 4 * 16, 7 / 8 * 64),
        (lambda x: jax.lax.all_to_all(x, "x", 0, 0, tiled=True), "all-to-all", 4 * 16, 7 / 8 * 64),
        (lambda x: jax.lax.ppermute(x, "x", [(i, (i + 1) % 8) for i in range(8)]), "collective-permute", 4 * 16, 64),
    ],
    ids=["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "permute"],
)
def test_each_kind(fn, kind, size, sent):
    (found,) = of(fn, (128,))
    assert (found.kind, found.count, found.bytes) == (kind, 1, size)
    assert found.devices == 8
    assert found.sent == pytest.approx(sent)


def test_a_loop_counts_as_often_as_it_runs():
    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda _, y: jax.lax.psum(y, "x") * 0.1, x)

    (found,) = of(loop, (128,))
    assert (found.kind, found.count, found.bytes) == ("all-reduce", 5, 5 * 64)


def test_groups_smaller_than_the_mesh():
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AUTO, AUTO))
    mapped = jax.shard_map(lambda x: jax.lax.psum(x, "b"), mesh=mesh, in_specs=P(("a", "b")), out_specs=P("a"))
    text = jax.jit(mapped).lower(jax.ShapeDtypeStruct((64,), jnp.bfloat16)).compile().as_text()
    (found,) = collectives(text)
    assert found.devices == 4
    assert found.count == 1


def test_data_parallel_gradients_are_reduced_once():
    rows, columns = 64, 32
    kernel = jax.ShapeDtypeStruct((columns, columns), jnp.float32, sharding=jax.NamedSharding(MESH, P()))
    batch = jax.ShapeDtypeStruct((rows, columns), jnp.float32, sharding=jax.NamedSharding(MESH, P("x")))
    step = jax.jit(
        lambda w, x: jax.grad(lambda w: jnp.sum((x @ w) ** 2))(w), out_shardings=jax.NamedSharding(MESH, P())
    )
    found = collectives(step.lower(kernel, batch).compile().as_text())
    assert found == (Collective(kind="all-reduce", devices=8, count=1, bytes=4 * columns**2),)


def test_one_device_sends_nothing():
    assert collectives(jax.jit(lambda x: x @ x).lower(np.ones((4, 4), np.float32)).compile().as_text()) == ()


def test_operations_that_only_start():
    text = """HloModule step, num_partitions=8

ENTRY %main (p: f32[16]) -> f32[128] {
  %p = f32[16]{0} parameter(0)
  %s = (f32[16]{0}, f32[128]{0}) all-gather-start(%p), replica_groups=[1,8]<=[8], dimensions={0}
  %d = f32[128]{0} all-gather-done(%s)
  %t = f32[16]{0} all-reduce-start(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %u = f32[16]{0} all-reduce-done(%t)
}
"""
    assert set(collectives(text)) == {
        Collective(kind="all-gather", devices=8, count=1, bytes=512),
        Collective(kind="all-reduce", devices=4, count=1, bytes=64),
    }


@pytest.mark.parametrize(
    ("spec", "devices"), [(P("a"), 2), (P("b"), 2), (P(("a", "c")), 4), (P(("b", "c")), 4), (P(("a", "b", "c")), 8)]
)
def test_groups_that_the_partitioner_made(spec, devices):
    mesh = jax.make_mesh((2, 2, 2), ("a", "b", "c"), axis_types=(AUTO,) * 3)
    x = jax.ShapeDtypeStruct((64, 8), jnp.float32, sharding=jax.NamedSharding(mesh, spec))
    whole = jax.NamedSharding(mesh, P())
    for fn, kind in ((lambda x: x * 2, "all-gather"), (lambda x: x.sum(axis=0), "all-reduce")):
        found = collectives(jax.jit(fn, out_shardings=whole).lower(x).compile().as_text())
        assert {(one.kind, one.devices) for one in found} == {(kind, devices)}


def test_groups_that_are_parts_of_an_axis():
    line = "  %r = f32[8]{0} all-reduce(%p), replica_groups=mesh['a'=8,'b'=4], device_ids=([4,8]T(1,0)) {'a':(2)4,'b'}"
    (found,) = collectives(f"HloModule m, num_partitions=32\n\nENTRY %main (p: f32[8]) -> f32[8] {{\n{line}\n}}\n")
    assert found.devices == 16
