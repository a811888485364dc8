"""What the tests of convolutional families share: models of theirs with running statistics, and their round trip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.interop.convert import to_ours, to_theirs
from tests.interop.reference import make, saved, shapes

torch = pytest.importorskip("torch")


def make_with_statistics(kind, config):
    """A model of theirs whose running statistics are not those of initialisation either."""
    model = make(kind, config)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def compare(reference, family, folder, size, atol=1e-5):
    """Checks outputs in evaluation and the round trip of the file, bit by bit; returns what it made."""
    tensors, config = saved(reference, folder)
    model = family.model_from(config)
    image = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    variables, report = to_ours(tensors, shapes(model, {"image": jnp.asarray(image)}), family.layout())
    words = {line.word for line in report.lines}
    assert words <= {"copied", "transposed", "transposed and reshaped", "ignored"}, report.lines
    back, _ = to_theirs(variables, family.layout(), prefix=None if model.num_classes else "")
    assert set(back) == set(tensors)
    for name, leaf in tensors.items():
        assert (back[name].shape, back[name].dtype) == (leaf.shape, leaf.dtype), name
        np.testing.assert_array_equal(back[name], leaf, name)
    with torch.no_grad():
        expected = reference(torch.tensor(image.transpose(0, 3, 1, 2)))
    found = jax.jit(lambda variables, image: model.apply(variables, image, train=False))(variables, image)
    wanted = expected.logits if "logits" in expected else expected.pooler_output.flatten(1)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=atol * max(1.0, float(wanted.abs().max())))
    return model, variables, image


def compare_gradients(reference, family, model, variables, image, atol=1e-4):
    """Checks the gradient of every parameter in evaluation, relative to the largest of its tensor if above 1."""
    reference.zero_grad()
    reference(torch.tensor(image.transpose(0, 3, 1, 2))).logits.sin().sum().backward()
    tensors = {name: leaf.detach().numpy() for name, leaf in reference.state_dict().items()}
    tensors |= {name: leaf.grad.numpy() for name, leaf in reference.named_parameters()}
    expected = trees.flatten(to_ours(tensors, variables, family.layout())[0]["params"])

    def loss(params):
        return jnp.sin(model.apply({**variables, "params": params}, image, train=False)).sum()

    for name, leaf in trees.flatten(jax.jit(jax.grad(loss))(variables["params"])).items():
        scale = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(leaf, expected[name], rtol=0, atol=atol * scale, err_msg=name)
