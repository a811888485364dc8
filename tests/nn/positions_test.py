import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import RelativeBias, Rotary, alibi_bias, rotate, sinusoids
from jaxdl.nn.positions import alibi_slopes

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def llama_config(**rope):
    from transformers import LlamaConfig

    parameters = {"rope_type": "default", "rope_theta": 10_000.0, **rope}
    return LlamaConfig(
        hidden_size=64, num_attention_heads=4, max_position_embeddings=131_072, rope_parameters=parameters
    )


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    ("rotary", "rope"),
    [
        (Rotary(), {}),
        (Rotary(base=1e6), {"rope_theta": 1e6}),
        (Rotary(factor=4.0), {"rope_type": "linear", "factor": 4.0}),
        (Rotary(base=500_000.0, factor=8.0, original_length=8192), LLAMA_3),
    ],
    ids=["default", "base", "linear", "llama3"],
)
def test_rotary_equals_transformers(rotary, rope):
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    embedding = LlamaRotaryEmbedding(llama_config(**rope))
    np.testing.assert_allclose(rotary.frequencies(16), embedding.inv_freq.numpy(), rtol=2e-6)
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 2, 7, 4, 16)).astype(np.float32)
    positions = np.stack((np.arange(7), 100 + 3 * np.arange(7)))
    theirs = [torch.tensor(x).transpose(1, 2) for x in (query, key)]
    cos, sin = embedding(theirs[0], torch.tensor(positions))
    expected = apply_rotary_pos_emb(*theirs, cos, sin)
    for ours, other in zip((query, key), expected):
        found = rotate(rotary, jnp.asarray(ours), jnp.asarray(positions))
        np.testing.assert_allclose(found, other.transpose(1, 2), atol=3e-5)


def test_interleaved_rotary_is_a_complex_product():
    x = np.random.default_rng(0).normal(size=(1, 5, 2, 8)).astype(np.float32)
    angles = np.arange(5)[:, None] * 10_000.0 ** (-np.arange(4) / 4)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[None, :, None]
    expected = np.stack((turned.real, turned.imag), -1).reshape(x.shape)
    found = rotate(Rotary(interleaved=True), jnp.asarray(x), jnp.arange(5)[None])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("rotary", [Rotary(), Rotary(interleaved=True), Rotary(fraction=0.5)])
def test_rotary_products_depend_on_the_distance_only(rotary):
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 3, 8))

    def product(t, s):
        places = (jnp.array([[at]]) for at in (t, s))
        turned = [rotate(rotary, x, at) for x, at in zip((query, key), places)]
        return np.sum(turned[0] * turned[1], -1)

    np.testing.assert_allclose(product(3, 1), product(40, 38), atol=1e-5)
    assert np.abs(product(3, 1) - product(4, 1)).max() > 1e-2


def test_features_beyond_the_fraction_stay_and_the_type_too():
    x = jax.random.normal(jax.random.key(0), (2, 3, 2, 8), jnp.bfloat16)
    found = rotate(Rotary(fraction=0.25), x, jnp.arange(1, 4)[None])
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found[..., 2:], x[..., 2:])
    assert (found[..., :2] != x[..., :2]).any()


def test_odd_rotary_features_are_refused():
    with pytest.raises(ValueError, match="even number of features, not 5"):
        rotate(Rotary(), jnp.zeros((1, 2, 1, 5)), jnp.arange(2)[None])


def test_sinusoids_equal_the_formula_of_the_paper():
    found = sinusoids(50, 6)
    for position in range(50):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(found[position, 2 * i : 2 * i + 2], (np.sin(angle), np.cos(angle)), atol=1e-6)


def test_sinusoids_equal_those_of_whisper():
    from transformers.models.whisper.modeling_whisper import sinusoids as theirs

    found = sinusoids(1500, 384, interleaved=False)
    # The original computes angles of up to 1500 in float32, ours in float64.
    np.testing.assert_allclose(found, theirs(1500, 384), atol=2e-4)
    np.testing.assert_allclose(found[:20], theirs(20, 384), atol=2e-6)


@pytest.mark.parametrize(("features", "interleaved"), [(5, True), (2, False)])
def test_sinusoids_without_pairs_are_refused(features, interleaved):
    with pytest.raises(ValueError, match=f"not {features}"):
        sinusoids(3, features, interleaved=interleaved)


def test_alibi_slopes_are_those_of_the_paper():
    np.testing.assert_allclose(alibi_slopes(8), [1 / 2**i for i in range(1, 9)])
    np.testing.assert_allclose(alibi_slopes(16), [2 ** (-i / 2) for i in range(1, 17)], rtol=1e-6)
    # Of 12 heads: those of 8, then every other one of 16.
    expected = [1 / 2**i for i in range(1, 9)] + [2 ** (-i / 2) for i in (1, 3, 5, 7)]
    np.testing.assert_allclose(alibi_slopes(12), expected, rtol=1e-6)


def test_alibi_bias_grows_with_the_distance():
    bias = alibi_bias(2, jnp.array([[2, 5]]), jnp.arange(4)[None])
    assert bias.shape == (1, 2, 2, 4)
    np.testing.assert_allclose(bias[0, 0], -np.array([[2, 1, 0, 1], [5, 4, 3, 2]]) / 16)
    np.testing.assert_allclose(bias[0, 1], -np.array([[2, 1, 0, 1], [5, 4, 3, 2]]) / 256)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (64, 300)])
def test_buckets_equal_those_of_t5(bidirectional, buckets, distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    ahead = np.arange(-5000, 5000)
    options = {"bidirectional": bidirectional, "num_buckets": buckets, "max_distance": distance}
    expected = T5Attention._relative_position_bucket(torch.tensor(ahead), **options).numpy()
    module = RelativeBias(1, num_buckets=buckets, max_distance=distance, bidirectional=bidirectional)
    np.testing.assert_array_equal(module.bucket(jnp.asarray(ahead)), expected)
    np.testing.assert_array_equal(jax.jit(module.bucket)(jnp.asarray(ahead)), expected)


def test_relative_bias_looks_its_buckets_up():
    module = RelativeBias(3, num_buckets=8, max_distance=16)
    queries, keys = jnp.array([[4, 5]]), jnp.arange(7)[None]
    bias, variables = module.init_with_output(jax.random.key(0), queries, keys)
    table = variables["params"]["embedding"]
    assert table.shape == (8, 3)
    assert bias.shape == (1, 3, 2, 7)
    for t, query in enumerate((4, 5)):
        for s in range(7):
            np.testing.assert_array_equal(bias[0, :, t, s], table[module.bucket(jnp.asarray(s - query))])
