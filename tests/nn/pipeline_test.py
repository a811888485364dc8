"""Layers spread over stages give what they give one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.errors import ConfigError
from jaxdl.inspection import collectives
from jaxdl.nn.pipeline import pipelined
from jaxdl.parallel import make_mesh

LAYERS, ROWS, WIDTH = 4, 8, 6
MESH = make_mesh({"stage": 4, "data": 2})


def layer(own, x, shared, part):
    x = jnp.tanh(x @ own["kernel"] + shared["row"] + shared["all"])
    return x, {"sum": x.sum(axis=-1), "part": jnp.full(len(x), part)}


def parts_of():
    keys = jax.random.split(jax.random.key(0), 4)
    each = {"kernel": jax.random.normal(keys[0], (LAYERS, WIDTH, WIDTH))}
    shared = {"row": jax.random.normal(keys[1], (ROWS, 1)), "all": jax.random.normal(keys[2], (1, WIDTH))}
    return each, jax.random.normal(keys[3], (ROWS, WIDTH)), shared


def in_turn(each, x, shared):
    outs = []
    for kernel in each["kernel"]:
        x, out = layer({"kernel": kernel}, x, shared, 0)
        outs.append(out["sum"])
    return x, jnp.stack(outs)


def run(fn, mesh, *args):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return jax.jit(fn)(*jax.device_put(args, NamedSharding(mesh, P())))


@pytest.mark.parametrize("axes", [{"stage": 4, "data": 2}, {"stage": 2, "fsdp": 4}, {"stage": 1, "data": 8}], ids=str)
def test_results_and_gradients_are_those_of_layers_in_turn(axes):
    mesh = make_mesh(axes)

    def total(run_layers):
        def fn(each, x, shared):
            x, outs = run_layers(each, x, shared)
            return jnp.sum(jnp.sin(x)) + jnp.sum(jnp.cos(outs) * jnp.arange(1, ROWS + 1)[None]), (x, outs)

        return jax.value_and_grad(fn, (0, 1, 2), has_aux=True)

    def in_stages(each, x, shared):
        x, outs = pipelined(layer, each, x, shared)
        return x, outs["sum"]

    expected, found = total(in_turn)(*parts_of()), run(total(in_stages), mesh, *parts_of())
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_each_row_has_the_number_of_its_part():
    _, outs = run(lambda *args: pipelined(layer, *args), MESH, *parts_of())
    # Four parts, for two devices share the rows: row r is in part r mod 4.
    np.testing.assert_array_equal(outs["part"], np.tile(np.arange(ROWS) % 4, (LAYERS, 1)))


def test_a_part_moves_on_by_a_permutation():
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        placed = jax.device_put(parts_of(), NamedSharding(MESH, P()))
        text = jax.jit(lambda *args: pipelined(layer, *args)[0]).lower(*placed).compile().as_text()
    moved = [one for one in collectives(text) if one.kind == "collective-permute"]
    assert sum(one.count for one in moved) >= 4 + 4 - 1


def test_stages_must_divide_the_layers():
    each, x, shared = parts_of()
    with pytest.raises(ConfigError, match="4 stages do not divide 3 layers"):
        run(lambda *args: pipelined(layer, *args), MESH, jax.tree.map(lambda leaf: leaf[:3], each), x, shared)
