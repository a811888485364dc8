import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from jaxdl.nn.placement import axis_size, constrain, dividing, placed_activations
from jaxdl.parallel import make_mesh

MESH = make_mesh({"data": 4, "tensor": 2})


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="second")(nn.Dense(6, name="first")(x)), {"count": jnp.zeros(3)}


def test_sizes_are_those_of_the_mesh():
    assert axis_size("data") == 1
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        assert (axis_size("data"), axis_size("tensor"), axis_size("fsdp"), axis_size("other")) == (4, 2, 1, 1)


def test_only_axes_that_divide_are_taken():
    sizes = {"a": 2, "b": 3, "one": 1}.__getitem__
    assert dividing("a", 4, sizes) == "a"
    assert dividing("a", 5, sizes) is dividing("one", 4, sizes) is dividing(None, 4, sizes) is None
    assert dividing(("a", "b"), 12, sizes) == ("a", "b")
    assert dividing(("a", "b"), 4, sizes) == "a"


def test_without_a_mesh_nothing_happens():
    x = jnp.ones((4, 4))
    assert constrain(x, "data") is x


def test_dimensions_are_split_where_they_can():
    x = jax.device_put(jnp.ones((8, 3)), jax.NamedSharding(MESH, P()))
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        placed = jax.jit(lambda x: constrain(x * 2, ("data", "tensor"), "tensor"))(x)
    assert placed.sharding.spec == P(("data", "tensor"))


def test_rules_place_what_modules_give():
    model, x = Two(), jax.device_put(jnp.ones((8, 2)), jax.NamedSharding(MESH, P()))
    variables = jax.device_put(model.init(jax.random.key(0), x), jax.NamedSharding(MESH, P()))

    def run(rules):
        def apply(variables, x):
            with placed_activations(rules):
                return model.apply(variables, x)

        with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
            return jax.jit(apply)(variables, x)

    (plain, _), (placed, other) = run(()), run((("", ("data", "tensor")), ("first", ("data", None))))
    assert placed.sharding.spec == P("data", "tensor")
    assert plain.sharding.is_fully_replicated
    assert other["count"].sharding.is_fully_replicated
    np.testing.assert_allclose(placed, plain, atol=1e-6)
