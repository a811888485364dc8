from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxdl.inspection import flops, flops_by_layer, open_loops
from jaxdl.models import MLP, ResNet
from jaxdl.nn import Conv, Dense
from jaxdl.parallel import make_mesh


def shape(*sizes, dtype="float32"):
    return jax.ShapeDtypeStruct(sizes, dtype)


def forward(model, **inputs):
    """The FLOPs by layer of a model in evaluation."""
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), **inputs)
    return flops_by_layer(lambda v, kw: model.apply(v, **kw, train=False), variables, inputs)


def of_layer(layer, x):
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return flops(layer.apply, variables, x)


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (Dense(5), (3, 7, 4), 2 * 3 * 7 * 4 * 5),
        (Conv(6, 3), (2, 8, 8, 4), 2 * (2 * 8 * 8 * 6) * 9 * 4),
        (Conv(6, 3, stride=2), (2, 8, 8, 4), 2 * (2 * 4 * 4 * 6) * 9 * 4),
        (Conv(6, 1), (2, 8, 8, 4), 2 * (2 * 8 * 8 * 6) * 4),
        (Conv(8, 3, groups=4), (1, 8, 8, 8), 2 * (8 * 8 * 8) * 9 * 2),
        (Conv(8, 5, groups=8), (1, 8, 8, 8), 2 * (8 * 8 * 8) * 25),
        (nn.Conv(6, (3, 3), kernel_dilation=2), (1, 8, 8, 4), 2 * (8 * 8 * 6) * 9 * 4),
        (nn.Conv(6, (5,), padding="VALID"), (2, 12, 4), 2 * (2 * 8 * 6) * 5 * 4),
        # Each input element meets each kernel element once.
        (nn.ConvTranspose(6, (2, 2), strides=(2, 2)), (1, 8, 8, 4), 2 * (8 * 8 * 4) * (2 * 2 * 6)),
    ],
)
def test_a_layer_by_hand(layer, x, expected):
    assert of_layer(layer, shape(*x)) == expected


def test_resnet_18_as_published():
    counted = forward(ResNet(num_classes=1000, depth=18), image=shape(1, 224, 224, 3))
    assert sum(counted.values()) / 2 == pytest.approx(1.82e9, rel=0.005)
    assert counted["ResNet/stem_conv"] == 2 * 112 * 112 * 64 * 49 * 3
    assert counted["ResNet/stage_3_block_0/shortcut_conv"] == 2 * 7 * 7 * 512 * 256
    assert counted["ResNet/head"] == 2 * 512 * 1000


def test_rematerialised_layers_keep_their_names():
    plain, remat = (
        forward(ResNet(num_classes=3, depth=18, width=4, remat=remat), image=shape(1, 32, 32, 3))
        for remat in (False, True)
    )
    assert plain == remat


def test_attention():
    query, key = shape(2, 16, 6, 8), shape(2, 16, 2, 8)
    counted = flops(lambda q, k: jax.nn.dot_product_attention(q, k, k, implementation="xla"), query, key)
    assert counted == 2 * 2 * (2 * 6 * 16 * 16 * 8)


def test_fused_attention_counts_as_what_it_fuses(monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda *_: True)
    query, key = shape(2, 64, 4, 64, dtype="bfloat16"), shape(2, 128, 4, 64, dtype="bfloat16")
    attend = partial(jax.nn.dot_product_attention, implementation="cudnn")
    once = 2 * (2 * 4 * 64 * 128 * 64)
    assert flops(attend, query, key, key) == 2 * once
    gradient = jax.grad(lambda *args: attend(*args).sum(), argnums=(0, 1, 2))
    assert flops(gradient, query, key, key) == 7 * once


def test_gradients_cost_twice_the_forward_pass_more():
    x, w = shape(8, 16), shape(16, 32)

    def loss(w, x):
        return ((x @ w) ** 2).sum()

    once = 2 * 8 * 16 * 32
    assert flops(loss, w, x) == once
    assert flops(jax.grad(loss), w, x) == 2 * once
    assert flops(jax.grad(loss, (0, 1)), w, x) == 3 * once
    assert flops(jax.grad(jax.checkpoint(loss), (0, 1)), w, x) >= 3 * once


def test_the_gradients_of_a_convolution_cost_as_much_as_it():
    layer, x = Conv(6, 3, stride=2, use_bias=False), shape(4, 8, 8, 4)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    gradient = jax.grad(lambda v, x: layer.apply(v, x).sum(), (0, 1))
    # The gradient of the input is a convolution of four times as many positions, of which a quarter meet no zero.
    assert flops(gradient, variables, x) == 3 * of_layer(layer, x)


def test_loops_count_as_often_as_they_run():
    w = shape(4, 4)
    once = 2 * 4 * 4 * 4
    body = lambda x, w: (x @ w, None)  # noqa: E731
    assert flops(lambda w: jax.lax.scan(lambda x, _: body(x, w), w, None, length=7), w) == 7 * once
    assert flops(lambda w: jax.lax.fori_loop(0, 5, lambda _, x: x @ w, w), w) == 5 * once


def test_a_loop_of_unknown_length_counts_once_and_is_named():
    def run(w, steps):
        with jax.named_scope("search"):
            return jax.lax.while_loop(lambda c: c[1] < steps, lambda c: (c[0] @ w, c[1] + 1), (w, 0))

    arguments = shape(4, 4), shape(dtype="int32")
    assert flops_by_layer(run, *arguments) == {"search": 2 * 4 * 4 * 4}
    assert open_loops(run, *arguments) == ("search",)
    assert open_loops(lambda x: x @ x, shape(4, 4)) == ()


def test_the_costliest_branch_counts():
    def run(x, choice):
        return jax.lax.switch(choice, [lambda x: x, lambda x: x @ x, lambda x: x @ x @ x], x)

    assert flops(run, shape(4, 4), shape(dtype="int32")) == 2 * (2 * 4 * 4 * 4)
    by_platform = lambda x: jax.lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: x)  # noqa: E731
    assert flops(by_platform, shape(4, 4)) == 2 * 4 * 4 * 4


def test_custom_derivatives_and_shards_are_looked_into():
    @jax.custom_vjp
    def square(x):
        return x @ x

    square.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
    assert flops(square, shape(4, 4)) == 2 * 64
    assert flops(jax.grad(lambda x: square(x).sum()), shape(4, 4)) == 3 * 2 * 64
    mesh = make_mesh({"data": 8})
    spec = jax.sharding.PartitionSpec
    mapped = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(spec("data"), spec()), out_specs=spec("data"))
    assert flops(mapped, shape(16, 4), shape(4, 4)) == 2 * 16 * 4 * 4


def test_grouped_products():
    x, w = shape(8, 4), shape(2, 4, 6)

    def run(x, w):
        return jax.lax.ragged_dot(x, w, jnp.array([3, 5]))

    assert flops(run, x, w) == 2 * 8 * 4 * 6
    assert flops(jax.grad(lambda x, w: (run(x, w) ** 2).sum(), (0, 1)), x, w) == 3 * 2 * 8 * 4 * 6


def test_other_methods_and_scanned_layers_belong_to_their_module():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            def call(layer, x, _):
                return layer(x), None

            scan = nn.scan(call, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            x, _ = scan(Dense(4, name="layers"), x, None)
            return self.project(Dense(5, name="head")(x))

        def project(self, x):
            return x @ jnp.ones((5, 2))

    assert forward(Net(), x=shape(2, 4)) == {
        "Net/layers": 3 * 2 * 2 * 4 * 4,
        "Net/head": 2 * 2 * 4 * 5,
        "Net": 2 * 2 * 5 * 2,
    }


def test_as_much_as_the_compiler_says():
    model, image = MLP(num_classes=64, widths=(256, 512)), shape(128, 64)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    loss = lambda v, x: jax.nn.log_softmax(model.apply(v, x, train=True)).sum()  # noqa: E731
    compiled = jax.jit(jax.grad(loss)).lower(variables, image).cost_analysis()["flops"]
    assert flops(jax.grad(loss), variables, image) == pytest.approx(compiled, rel=0.03)
