import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.nn.separable import InvertedResidual, SeparableConv, rounded


def test_separable_equals_torch():
    torch = pytest.importorskip("torch")
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 4))
    layer = SeparableConv(5, stride=2)
    variables = layer.init(jax.random.key(1), x)
    kernels = {
        name: torch.tensor(np.asarray(leaf["kernel"]).transpose(3, 2, 0, 1))
        for name, leaf in variables["params"].items()
    }
    image = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
    image = torch.nn.functional.conv2d(image, kernels["depthwise"], stride=2, padding=1, groups=4)
    expected = torch.nn.functional.conv2d(image, kernels["pointwise"])
    np.testing.assert_allclose(layer.apply(variables, x), expected.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "channels", "shape", "shortcut"),
    [
        ({}, 4, (2, 6, 6, 4), True),
        ({"stride": 2}, 4, (2, 3, 3, 4), False),
        ({}, 6, (2, 6, 6, 6), False),
    ],
)
def test_the_shortcut_is_there_where_shapes_agree(options, channels, shape, shortcut):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    block = InvertedResidual(channels, 8, **options)
    variables = jax.tree.map(jnp.asarray, block.init(jax.random.key(1), x, False))
    silent = trees.map_named(lambda name, leaf: leaf * 0 if "project_norm/scale" in name else leaf, variables)
    y = block.apply(silent, x, False)
    assert y.shape == shape
    np.testing.assert_array_equal(y, x if shortcut else jnp.zeros(shape))


def test_without_expansion_there_is_no_first_convolution():
    names = trees.names(InvertedResidual(4, 4, squeezed=2).init(jax.random.key(0), jnp.ones((1, 4, 4, 4)), False))
    assert not any("expand_conv" in name for name in names)
    assert any("squeeze_excite/reduce" in name for name in names)


@pytest.mark.parametrize("multiple", [4, 8])
def test_rounding_keeps_nine_tenths(multiple):
    for channels in np.linspace(1, 300, 97):
        assert rounded(channels, multiple) % multiple == 0
        assert rounded(channels, multiple) >= 0.9 * channels
        assert abs(rounded(channels, multiple) - channels) < multiple
