"""Layers of PyTorch with the parameters of ours, for networks that tests write out a second time."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def perturbed(variables):
    """Variables in double precision and away from their first values, so that each one matters."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64) * (1 + 0.1 * np.sin(np.arange(leaf.size)).reshape(leaf.shape)) + 0.01,
        variables,
    )


class Layers:
    """Applies the layer of a name, such as "stage_0_block_1/conv_0", to images (B, D, h, w) of PyTorch."""

    def __init__(self, variables):
        self._params = jax.tree.map(torch.tensor, variables["params"])
        self._statistics = jax.tree.map(torch.tensor, variables["batch_stats"] if "batch_stats" in variables else {})

    def has(self, name):
        return self._at(self._params, name) is not None

    def conv(self, x, name, stride=1, padding=None, groups=1):
        layer = self._at(self._params, name)
        kernel = layer["kernel"].permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2 if padding is None else padding
        return functional.conv2d(x, kernel, layer["bias"] if "bias" in layer else None, stride, padding, 1, groups)

    def up(self, x, name):
        layer = self._at(self._params, name)
        return functional.conv_transpose2d(x, layer["kernel"].permute(2, 3, 0, 1), layer["bias"], stride=2)

    def norm(self, x, name, epsilon=1e-5):
        layer, running = self._at(self._params, name), self._at(self._statistics, name)
        return functional.batch_norm(
            x, running["mean"], running["var"], layer["scale"], layer["bias"], False, 0, epsilon
        )

    def layer_norm(self, x, name, epsilon=1e-6):
        layer = self._at(self._params, name)
        return functional.layer_norm(x, x.shape[-1:], layer["scale"], layer["bias"], epsilon)

    def dense(self, x, name):
        layer = self._at(self._params, name)
        return x @ layer["kernel"] + layer["bias"]

    def _at(self, tree, name):
        for part in name.split("/"):
            if part not in tree:
                return None
            tree = tree[part]
        return tree


def assert_equal(model, image, theirs, atol=1e-6):
    """Checks a model in evaluation and double precision against `theirs(layers, x)`, both channels last."""
    single = image.astype(np.float32)
    variables = perturbed(jax.jit(lambda key: model.init(key, single, train=False))(jax.random.key(0)))
    expected = theirs(Layers(variables), torch.tensor(image.transpose(0, 3, 1, 2)))
    expected = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
    with jax.enable_x64(True):
        found = jax.jit(lambda variables, image: model.apply(variables, image, train=False))(variables, image)
    scale = max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol * scale)
    assert float(expected.abs().max()) > 1e-3
