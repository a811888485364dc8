import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxdl import trees
from jaxdl.inspection import summary
from jaxdl.models import MLP, ResNet
from jaxdl.nn import Dense
from jaxdl.nn.transformer import Layers

IMAGE = {"image": jax.ShapeDtypeStruct((1, 16, 16, 3), "float32")}


class Net(nn.Module):
    """Parts within parts, one of them used twice, one never called."""

    @nn.compact
    def __call__(self, tokens, *, train):
        embed = nn.Embed(10, 4, name="embed")
        encode = nn.Sequential([Dense(6, name="up"), Dense(4, name="down")], name="encode")
        x = encode(encode(embed(tokens)))
        return {"logits": embed.attend(x), "pooled": x.mean(1)}


TOKENS = {"tokens": jax.ShapeDtypeStruct((2, 5), "int32")}


def rows(found):
    return {layer.name: layer for layer in found.layers}


def test_layers_by_hand():
    found = rows(summary(Net(), TOKENS))
    assert list(found)[:2] == ["", "embed"]
    assert found[""].output == ((2, 5, 10), (2, 4))
    assert found["embed"].output == ((2, 5, 4),)
    assert found["embed"].parameters == 40
    assert found["embed"].flops == 2 * 2 * 5 * 4 * 10  # Of attending to it.
    up = next(layer for name, layer in found.items() if name.endswith("up"))
    assert (up.kind, up.parameters, up.output) == ("Dense", 4 * 6 + 6, ((2, 5, 6),))
    assert up.flops == 2 * (2 * 2 * 5 * 4 * 6)  # Twice.


@pytest.mark.parametrize("remat", [False, True])
def test_the_sums_are_those_of_the_parts(remat):
    model = ResNet(num_classes=5, depth=18, width=4, stem="cifar", remat=remat)
    found = summary(model, IMAGE)
    parts = [layer for layer in found.layers if layer.depth == 1]
    assert sum(layer.parameters for layer in parts) == found.parameters == found.layers[0].parameters
    assert sum(layer.flops for layer in parts) == found.flops == found.layers[0].flops
    variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    assert found.parameters == trees.count(variables["params"])
    assert found.bytes == 4 * found.parameters
    assert rows(found)["stage_1_block_0"].kind == "BasicBlock"
    assert rows(found)["stage_1_block_0/conv_1"].output == ((1, 8, 8, 8),)


def test_the_look_of_training_has_the_same_layers():
    model = MLP(num_classes=5, widths=(8,), normalization="batch", dropout_rate=0.5)
    assert summary(model, IMAGE, train=True) == summary(model, IMAGE)
    assert [layer.name for layer in summary(model, IMAGE).layers] == ["", "hidden_0", "norm_0", "dropout_0", "head"]


def test_frozen_parameters_are_counted_apart():
    found = summary(MLP(num_classes=5, widths=(8,)), IMAGE, frozen=("(?!head/).*",))
    assert found.trainable == 8 * 5 + 5
    assert f"({found.trainable} trainable, {found.parameters - found.trainable:,} frozen)" in found.text()


def test_scanned_layers_are_found_in_their_stack():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(4, name="dense")(x), None

    class Scanned(nn.Module):
        scan: bool

        @nn.compact
        def __call__(self, x, *, train):
            return Layers(Block, 3, scan=self.scan, name="encoder")(x)[0]

    x = {"x": jax.ShapeDtypeStruct((2, 4), "float32")}
    unrolled, scanned = (rows(summary(Scanned(scan), x)) for scan in (False, True))
    assert unrolled["encoder/block_1/dense"].flops == 2 * 2 * 4 * 4
    assert scanned["encoder"].parameters == unrolled["encoder"].parameters == 3 * 20
    assert scanned["encoder"].flops == unrolled["encoder"].flops == 3 * 2 * 2 * 4 * 4
    assert scanned[""].output == ((2, 4),)


def test_the_table():
    lines = summary(MLP(num_classes=5, widths=(8,)), IMAGE).text(depth=0).splitlines()
    assert lines[0].split() == ["layer", "class", "output", "parameters", "FLOPs"]
    assert lines[1].split() == ["(model)", "MLP", "1", "x", "5", "6,197", "12,368"]
    assert not lines[2]


def test_loops_of_unknown_length_are_named():
    class Search(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            kernel = self.param("kernel", nn.initializers.ones, (4, 4))
            return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ kernel, x)

    found = summary(Search(), {"x": jax.ShapeDtypeStruct((2, 4), "float32")})
    assert found.open_loops == ("",)
    assert "the model: a loop of unknown length, counted once" in found.text()
