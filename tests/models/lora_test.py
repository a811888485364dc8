import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.inspection import summary
from jaxdl.models import MLP, LeNet
from jaxdl.models.lora import LoRA, merge
from tests.models.contract import check_contract

IMAGE = {"image": (4, 8, 8, 3)}
NET = MLP(num_classes=5, widths=(8, 6), normalization="layer", dropout_rate=0.2)
LORA = LoRA(model=NET, rank=2, alpha=3.0, targets=(r"hidden_\d/kernel",))
CONVOLUTIONS = LoRA(
    model=LeNet(num_classes=5, channels=(3, 4), dense_width=6, batch_norm=True), rank=2, targets=("conv_./kernel",)
)


def variables_of(model, seed=0):
    """Variables whose B are not zero."""
    made = dict(jax.jit(lambda key: model.init(key, image=images(), train=False))(jax.random.key(seed)))

    def noise(name, leaf):
        return jax.random.normal(jax.random.key(len(name)), leaf.shape) / 4 if name.endswith("/b") else leaf

    return made | {"params": trees.map_named(noise, made["params"])}


def images(seed=1):
    return jax.random.uniform(jax.random.key(seed), IMAGE["image"])


@pytest.mark.parametrize("model", [LORA, CONVOLUTIONS], ids=["dense", "convolutions"])
def test_it_keeps_the_contract(model):
    check_contract(model, IMAGE, half=False, random=model is LORA)


def test_names_and_shapes():
    params = variables_of(LORA)["params"]
    inside = jax.eval_shape(lambda: NET.init(jax.random.key(0), images(), train=False))["params"]
    assert trees.names(params["base"]) == trees.names(inside)
    assert {name: leaf.shape for name, leaf in trees.flatten(params["lora"]).items()} == {
        "hidden_0/kernel/a": (192, 2),
        "hidden_0/kernel/b": (2, 8),
        "hidden_1/kernel/a": (8, 2),
        "hidden_1/kernel/b": (2, 6),
    }
    convolution = trees.flatten(variables_of(CONVOLUTIONS)["params"]["lora"])["conv_1/kernel/a"]
    assert convolution.shape == (3 * 3 * 3, 2)


def test_it_begins_as_the_model():
    made = LORA.init(jax.random.key(0), image=images(), train=False)
    expected = NET.apply({"params": made["params"]["base"]}, images(), train=False)
    np.testing.assert_array_equal(LORA.apply(made, image=images(), train=False), expected)
    outputs, again = LORA.init_with_output(jax.random.key(0), image=images(), train=False)
    np.testing.assert_array_equal(outputs, expected)
    chex.assert_trees_all_equal(made, again)


@pytest.mark.parametrize("model", [LORA, CONVOLUTIONS], ids=["dense", "convolutions"])
def test_the_merged_model_gives_the_same(model):
    made = variables_of(model)
    adapted = model.apply(made, image=images(), train=False)
    rest = {name: value["base"] for name, value in made.items() if name != "params"}
    plain = model.model.apply({"params": merge(model, made["params"]), **rest}, images(), train=False)
    np.testing.assert_allclose(adapted, plain, atol=1e-6)
    base = model.model.apply({"params": made["params"]["base"], **rest}, images(), train=False)
    assert jnp.abs(adapted - base).max() > 1e-3


def test_a_dense_layer_as_in_the_paper():
    torch = pytest.importorskip("torch")
    model = LoRA(model=MLP(num_classes=5, widths=()), rank=2, alpha=3.0, targets=("head/kernel",))
    params = variables_of(model)["params"]
    a, b = (torch.tensor(np.asarray(params["lora"]["head"]["kernel"][name])) for name in "ab")
    linear = torch.nn.Linear(192, 5)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(np.asarray(params["base"]["head"]["kernel"]).T))
        linear.bias.copy_(torch.tensor(np.asarray(params["base"]["head"]["bias"])))
    x = torch.tensor(np.asarray(images().reshape(4, -1)))
    a.requires_grad_()
    expected = linear(x) + 3.0 / 2 * (x @ a) @ b
    expected.square().sum().backward()

    def loss(lora):
        return (model.apply({"params": {**params, "lora": lora}}, image=images(), train=True) ** 2).sum()

    ours = model.apply({"params": params}, image=images(), train=True)
    np.testing.assert_allclose(ours, expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(
        jax.grad(loss)(params["lora"])["head"]["kernel"]["a"], a.grad.numpy(), rtol=1e-4, atol=1e-4
    )


def test_statistics_and_dropout_of_the_model_work():
    made = variables_of(CONVOLUTIONS)
    _, state = CONVOLUTIONS.apply(made, image=images(), train=True, mutable=["batch_stats"])
    merged = {"params": merge(CONVOLUTIONS, made["params"]), "batch_stats": made["batch_stats"]["base"]}
    _, expected = CONVOLUTIONS.model.apply(merged, images(), train=True, mutable=["batch_stats"])
    chex.assert_trees_all_close(state["batch_stats"]["base"], expected["batch_stats"], atol=1e-6)


def test_dropped_rows_leave_the_mean_as_it_is():
    model = LoRA(model=MLP(num_classes=5, widths=()), rank=2, targets=("head/kernel",), dropout_rate=0.5)
    made = variables_of(model)
    train = jax.jit(lambda key: model.apply(made, image=images(), train=True, rngs={"dropout": key}))
    outputs = jax.vmap(train)(jax.random.split(jax.random.key(0), 2000))
    assert outputs.std(0).min() > 0.01
    error = jnp.abs(outputs.mean(0) - model.apply(made, image=images(), train=False))
    assert (error < 5 * outputs.std(0) / 2000**0.5).all()


def test_the_summary_finds_the_layers_of_the_model():
    found = {layer.name: layer for layer in summary(LORA, {"image": images()}, frozen=("base/.*",)).layers}
    assert found["base/hidden_1"].flops == 2 * 4 * 8 * 6
    assert found["base"].kind == "MLP"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("hiden_0/kernel",), "target 'hiden_0/kernel' matches no parameter.*nearest are hidden_0/kernel"),
        (("base/hidden_0/kernel",), "without 'base/'"),
        ((".*",), "matches head/bias, .*no matrices"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, message):
    with pytest.raises(ConfigError, match=message):
        LORA.clone(targets=targets).init(jax.random.key(0), image=images(), train=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"targets": "head/kernel"}, "targets must be regular expressions"),
        ({"dropout_rate": 1.0}, "dropout_rate must be in"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LORA.clone(**settings)


def test_only_parameters_of_a_lora_can_be_merged():
    with pytest.raises(ConfigError, match="these are in \\['head'\\]"):
        merge(LORA, {"head": {}})


def test_a_model_may_be_nested_and_used_by_another():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return LoRA(model=NET, rank=2, alpha=3.0, targets=("head/kernel",), name="inner")(image=image, train=train)

    params = variables_of(Outer())["params"]
    assert set(params["inner"]) == {"base", "lora"}
    plain = NET.apply({"params": merge(LORA, params["inner"])}, images(), train=False)
    np.testing.assert_allclose(Outer().apply({"params": params}, images(), train=False), plain, atol=1e-6)
