import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from jaxdl.interop import patterns
from jaxdl.interop.layout import (
    CONV1D,
    CONV2D,
    COPY,
    EXPAND,
    MERGE,
    SPLIT,
    SQUEEZE,
    STACK,
    TRANSPOSE,
    Rule,
)

HOWS = {
    "copy": (COPY, [(3, 4), (5,)]),
    "transpose": (TRANSPOSE, [(3, 4)]),
    "conv2d": (CONV2D, [(5, 4, 3, 2)]),
    "conv1d": (CONV1D, [(5, 4, 3)]),
    "split": (SPLIT(1, 3), [(2, 6)]),
    "split unequal": (SPLIT(0, (4, 1, 1)), [(6, 2)]),
    "merge": (MERGE(0, 2), [(2, 3), (2, 3)]),
    "stack": (STACK(), [(2, 3)] * 4),
    "stack inside": (STACK(1), [(2, 3)] * 4),
    "expand": (EXPAND(0, 1), [(7,)]),
    "squeeze": (SQUEEZE(0), [(1, 7)]),
    "transpose then split": (TRANSPOSE.then(SPLIT(1, 3)), [(6, 2)]),
    "transpose then stack": (TRANSPOSE.then(STACK()), [(6, 2)] * 3),
}


@pytest.mark.parametrize("name", HOWS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64"])
def test_back_and_forth_is_bit_equal(name, dtype):
    import ml_dtypes

    how, shapes = HOWS[name]
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    generator = np.random.default_rng(0)
    theirs = tuple((100 * generator.normal(size=shape)).astype(kind) for shape in shapes)
    back = how.to_theirs(how.to_ours(theirs))
    assert len(back) == len(theirs)
    for old, new in zip(theirs, back):
        assert old.dtype == new.dtype
        assert old.shape == new.shape
        assert old.tobytes() == np.ascontiguousarray(new).tobytes()


def test_conv2d_is_the_same_convolution_as_that_of_torch():
    torch = pytest.importorskip("torch")
    import jax

    theirs = torch.nn.Conv2d(4, 6, (3, 2), groups=2)
    (kernel,) = CONV2D.to_ours((theirs.weight.detach().numpy(),))
    image = np.random.default_rng(0).normal(size=(2, 7, 5, 4)).astype(np.float32)
    ours = jax.lax.conv_general_dilated(
        image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
    )
    expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.asarray(ours) + theirs.bias.detach().numpy(), expected, atol=1e-5)


def test_conv1d_is_the_same_convolution_as_that_of_torch():
    torch = pytest.importorskip("torch")
    import jax

    theirs = torch.nn.Conv1d(4, 6, 3, bias=False)
    (kernel,) = CONV1D.to_ours((theirs.weight.detach().numpy(),))
    sound = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    ours = jax.lax.conv_general_dilated(sound, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
    expected = theirs(torch.from_numpy(sound.transpose(0, 2, 1))).detach().numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_split_of_in_proj_is_query_key_value_of_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(4, 2, bias=False, batch_first=True)
    query, key, value = TRANSPOSE.then(SPLIT(1, 3)).to_ours((theirs.in_proj_weight.detach().numpy(),))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = (torch.from_numpy(x) @ theirs.in_proj_weight.T).detach().numpy()
    np.testing.assert_allclose(np.concatenate([x @ query, x @ key, x @ value], axis=1), expected, atol=1e-5)


def test_words_of_a_composition():
    assert TRANSPOSE.then(SPLIT(1, 3)).word == "transposed and split"
    assert COPY.then(COPY).word == "copied"


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(-1, 3))
def test_a_filled_pattern_is_found_again(i, j, offset):
    pattern = f"layer{{i{offset:+d}}}.{{j}}.weight"
    name = f"layer{i + offset}.{j}.weight"
    if i + offset < 0:
        return
    assert patterns.find(pattern, name) == {"i": i, "j": j}
    assert patterns.fill(pattern, {"i": i, "j": j}) == name


@pytest.mark.parametrize(
    "name", ["layer0.1.weight", "layer1.weight", "layer1.1.weights", "layer01.1.weight", "xlayer1.1.w"]
)
def test_other_names_are_not_found(name):
    assert patterns.find("layer{i+1}.{j}.weight", name) is None


def test_a_placeholder_that_comes_twice_must_be_one_number():
    assert patterns.find("block{i}.norm{i}", "block3.norm3") == {"i": 3}
    assert patterns.find("block{i}.norm{i}", "block3.norm4") is None


def test_dots_are_only_dots():
    assert patterns.find("a.b", "aXb") is None


def test_two_free_placeholders_are_refused():
    with pytest.raises(ValueError, match="Only one placeholder"):
        Rule("kernel", "e{e}.f{f}.weight", STACK())


@settings(deadline=None, max_examples=20)
@given(numpy_strategies.arrays(np.float32, numpy_strategies.array_shapes(min_dims=2, max_dims=2, min_side=1)))
def test_transpose_is_its_own_inverse(array):
    (once,) = TRANSPOSE.to_ours((array,))
    assert once.shape == array.shape[::-1]
    np.testing.assert_array_equal(TRANSPOSE.to_theirs((once,))[0], array)
