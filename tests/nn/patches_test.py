import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn.patches import PatchEmbedding, grid_sinusoids


@pytest.mark.parametrize("use_bias", [True, False])
def test_it_is_a_convolution_whose_stride_is_its_kernel(use_bias):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).normal(size=(2, 6, 9, 2)).astype(np.float32)
    layer = PatchEmbedding(5, 3, use_bias=use_bias)
    variables = layer.init(jax.random.key(0), image)
    params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf + 0.1)), variables["params"])
    expected = torch.nn.functional.conv2d(
        torch.tensor(image).permute(0, 3, 1, 2), params["kernel"].permute(3, 2, 0, 1), params.get("bias"), stride=3
    )
    found = layer.apply(jax.tree.map(lambda leaf: leaf + 0.1, variables), image)
    np.testing.assert_allclose(found, expected.flatten(2).permute(0, 2, 1).numpy(), atol=1e-5)


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(ValueError, match="4 pixels do not tile an image of 8 x 6"):
        PatchEmbedding(5, 4).init(jax.random.key(0), jnp.ones((1, 8, 6, 3)))


def test_the_positions_of_a_grid_by_their_formula():
    found = grid_sinusoids(2, 3, 12)
    wavelengths = 10_000.0 ** (np.arange(3) / 2)
    for row in range(2):
        for column in range(3):
            expected = [f(at / wavelengths) for at in (column, row) for f in (np.sin, np.cos)]
            np.testing.assert_allclose(found[3 * row + column], np.concatenate(expected), atol=1e-6)
    with pytest.raises(ValueError, match="not 10"):
        grid_sinusoids(2, 2, 10)
