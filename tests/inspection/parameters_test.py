import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.inspection import Group, grouped, parameter_table, parameters
from jaxdl.parallel import make_mesh

PARAMS = {
    "encoder": {"dense": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}, "scale": jnp.zeros((), jnp.bfloat16)},
    "head": {"kernel": jnp.zeros((4, 2))},
}


def test_each_parameter():
    found = {row.name: row for row in parameters(PARAMS, ("encoder/.*",))}
    assert list(found) == ["encoder/dense/bias", "encoder/dense/kernel", "encoder/scale", "head/kernel"]
    kernel, scale = found["encoder/dense/kernel"], found["encoder/scale"]
    assert (kernel.shape, kernel.count, kernel.bytes, kernel.dtype, kernel.trainable) == (
        (3, 4),
        12,
        48,
        "float32",
        False,
    )
    assert (scale.count, scale.bytes, scale.sharding) == (1, 2, None)
    assert found["head/kernel"].trainable


def test_groups_of_any_depth():
    rows = parameters(PARAMS, ("encoder/.*",))
    assert grouped(rows) == (
        Group(name="encoder", parameters=17, trainable=0, bytes=66),
        Group(name="head", parameters=8, trainable=8, bytes=32),
    )
    assert [group.name for group in grouped(rows, 2)] == ["encoder/dense", "encoder/scale", "head/kernel"]


def test_shardings():
    mesh = make_mesh({"data": 2, "fsdp": 4})
    specs = {"split": P(None, "fsdp"), "both": P(("data", "fsdp")), "whole": P(), "also": P(None, None)}
    params = {
        name: jax.ShapeDtypeStruct((8, 8), "float32", sharding=NamedSharding(mesh, spec))
        for name, spec in specs.items()
    }
    found = {row.name: row.sharding for row in parameters(params)}
    assert found == {"split": (None, "fsdp"), "both": (("data", "fsdp"),), "whole": (), "also": ()}
    text = parameter_table(parameters(params))
    assert "- x fsdp" in text
    assert "data+fsdp x -" in text
    assert "sharding" not in parameter_table(parameters(PARAMS))
