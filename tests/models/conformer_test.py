from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models.conformer import SIZES, Conformer
from tests.models.contract import check_contract

pytestmark = pytest.mark.slow  # Many programs to compile.

TINY = partial(Conformer, num_mels=8, features=8, num_layers=2, num_heads=2, kernel_size=3, dropout_rate=0.0)
LENGTHS = jnp.array([21, 9, 14], jnp.int32)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout_rate": 0.2, "attention_dropout_rate": 0.1},
        {"positions": "rotary", "vocab_size": 5, "remat": True},
    ],
)
def test_contract(options):
    inputs = {"features": (3, 21, 8), "lengths": LENGTHS}
    _, outputs = check_contract(TINY(**options), inputs)
    name = "logits" if "vocab_size" in options else "hidden"
    assert outputs[name].shape == (3, 6, options.get("vocab_size", 8))
    assert outputs["lengths"].tolist() == [6, 3, 4]


def variables_and_features(model):
    features = jax.random.normal(jax.random.key(1), (3, 21, 8))
    variables = jax.jit(lambda: model.init(jax.random.key(0), features, train=False))()
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    noisy = [x + 0.1 * jnp.abs(jax.random.normal(k, x.shape)) for x, k in zip(leaves, keys)]
    return jax.tree.unflatten(structure, noisy), features


@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_a_row_is_what_it_is_alone(positions):
    model = TINY(positions=positions)
    variables, features = variables_and_features(model)
    run = jax.jit(lambda features, lengths: model.apply(variables, features, lengths=lengths, train=False))
    outputs = run(features, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = run(features[row : row + 1, :length], None)
        kept = int(alone["lengths"][0])
        assert kept == int(outputs["lengths"][row]) == -(-length // 4)
        np.testing.assert_allclose(outputs["hidden"][row, :kept], alone["hidden"][0], atol=1e-5)
        np.testing.assert_array_equal(outputs["hidden"][row, kept:], 0)


def test_padding_reaches_neither_statistics_nor_gradients():
    model = TINY()
    variables, features = variables_and_features(model)
    kept = (jnp.arange(21)[None] < LENGTHS[:, None])[..., None]

    @jax.jit
    def step(features):
        def loss(params):
            given = {**variables, "params": params}
            out, state = model.apply(given, features, lengths=LENGTHS, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(out["hidden"])), state

        return jax.grad(loss, has_aux=True)(variables["params"])

    first, second = step(features), step(jnp.where(kept, features, 100.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), first, second)


@pytest.mark.parametrize(("size", "count"), [("S", 8_708_544), ("M", 27_323_392), ("L", 115_102_720)])
def test_sizes_of_the_docstring(size, count):
    model, features = Conformer(**SIZES[size]), jnp.zeros((1, 40, 80))
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), features, train=False))
    assert sum(leaf.size for leaf in trees.flatten(made["params"]).values()) == count
    width, kernel = SIZES[size]["features"], 31
    square, norm = width**2, 2 * width
    feedforward = 8 * square + 5 * width + norm
    attention = 5 * square + 4 * width + 2 * width + norm
    convolution = 3 * square + 3 * width + kernel * width + 2 * norm
    subsampling = 9 * width + width + 9 * square + width + 20 * square + width
    layer = 2 * feedforward + attention + convolution + norm
    assert count == SIZES[size]["num_layers"] * layer + subsampling


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_heads=3 does not divide features=8"):
        TINY(num_heads=3)
    with pytest.raises(ValueError, match="not 'absolute'"):
        TINY(positions="absolute")
    with pytest.raises(ValueError, match=r"\(B, frames, 8\), not \(2, 5, 7\)"):
        TINY().init(jax.random.key(0), jnp.zeros((2, 5, 7)), train=False)
    with pytest.raises(ValueError, match="must be odd"):
        TINY(kernel_size=32).init(jax.random.key(0), jnp.zeros((2, 5, 8)), train=False)


def load(block, params, statistics):
    """Copies a layer of ours into one of transformers, whose convolutions have no bias."""

    def tensor(x):
        return torch.tensor(np.asarray(x))

    def dense(theirs, ours):
        theirs.weight.copy_(tensor(ours["kernel"]).T)
        if theirs.bias is not None:
            theirs.bias.copy_(tensor(ours["bias"]))

    def norm(theirs, ours):
        theirs.weight.copy_(tensor(ours["scale"]))
        theirs.bias.copy_(tensor(ours["bias"]))

    torch = pytest.importorskip("torch")
    with torch.no_grad():
        for index, (feedforward, layer_norm) in enumerate(
            ((block.ffn1, block.ffn1_layer_norm), (block.ffn2, block.ffn2_layer_norm))
        ):
            dense(feedforward.intermediate_dense, params[f"feedforward_{index}"]["up"])
            dense(feedforward.output_dense, params[f"feedforward_{index}"]["down"])
            norm(layer_norm, params[f"feedforward_{index}_norm"])
        for name, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out"), ("position", "pos")):
            dense(getattr(block.self_attn, f"linear_{theirs}"), params["attention"][name])
        block.self_attn.pos_bias_u.copy_(tensor(params["attention"]["content_bias"]))
        block.self_attn.pos_bias_v.copy_(tensor(params["attention"]["position_bias"]))
        norm(block.self_attn_layer_norm, params["attention_norm"])
        module, ours = block.conv_module, params["convolution"]
        norm(module.layer_norm, params["convolution_norm"])
        module.pointwise_conv1.weight.copy_(tensor(ours["gate"]["kernel"]).T[..., None])
        module.pointwise_conv2.weight.copy_(tensor(ours["out"]["kernel"]).T[..., None])
        module.depthwise_conv.weight.copy_(tensor(ours["depthwise"]["kernel"]).permute(2, 1, 0))
        norm(module.batch_norm, ours["norm"])
        module.batch_norm.running_mean.copy_(tensor(statistics["convolution"]["norm"]["mean"]))
        module.batch_norm.running_var.copy_(tensor(statistics["convolution"]["norm"]["var"]))
        norm(block.final_layer_norm, params["final_norm"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_layer_equals_that_of_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as theirs

    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=32,
        conv_depthwise_kernel_size=3,
        hidden_act="swish",
        position_embeddings_type="relative",
    )
    config._attn_implementation = "eager"
    block = theirs.Wav2Vec2ConformerEncoderLayer(config).eval()
    model = TINY(num_layers=1)
    variables, _ = variables_and_features(model)
    params = variables["params"]["layers"]["block_0"]
    zero = {
        name: {**params["convolution"][name], "bias": jnp.zeros_like(params["convolution"][name]["bias"])}
        for name in ("gate", "out")
    }
    params = {**params, "convolution": {**params["convolution"], **zero}}
    statistics = variables["batch_stats"]["layers"]["block_0"]
    load(block, params, statistics)
    x = jax.random.normal(jax.random.key(3), (2, 11, 8))
    given = torch.tensor(np.asarray(x))
    positions = theirs.Wav2Vec2ConformerRelPositionalEmbedding(config)(given)
    expected = block(given, relative_position_embeddings=positions)
    expected = expected[0] if isinstance(expected, tuple) else expected
    layer = model._layer()()
    found, _ = layer.apply(
        {"params": params, "batch_stats": statistics}, x, kept_BS=jnp.ones((2, 11), bool), train=False
    )
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)
