"""Models of transformers with random weights, as the files that they save, and the checks that all families share."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.interop.convert import to_ours, to_theirs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
safetensors_numpy = pytest.importorskip("safetensors.numpy")


def make(kind, config, seed=0):
    """A model of theirs in evaluation, with weights that no symmetry and no zero hides."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def saved(model, folder):
    """`(tensors by name, config)` of the files that a model saves."""
    model.save_pretrained(folder)
    (file,) = folder.glob("*.safetensors")
    return safetensors_numpy.load_file(file), json.loads((folder / "config.json").read_text())


def shapes(model, inputs):
    """Variables of ours, as shapes."""
    return jax.eval_shape(lambda inputs: model.init(jax.random.key(0), **inputs, train=False), inputs)


def read(model, tensors, layout, inputs, prefix=None):
    """Variables of ours from tensors of theirs; checks that all are read and written back bit by bit."""
    variables, report = to_ours(tensors, shapes(model, inputs), layout)
    assert not [line for line in report.lines if line.word in ("initialised", "left out", "ignored", "skipped")]
    back, _ = to_theirs(variables, layout, prefix=prefix)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in back.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in tensors.items()
    }
    for name, leaf in tensors.items():
        assert back[name].tobytes() == leaf.tobytes(), name
    return variables


def assert_close(found, expected, atol=1e-5):
    """Checks an output of ours against theirs."""
    np.testing.assert_allclose(np.asarray(found), expected.detach().numpy(), rtol=0, atol=atol)


def check_gradients(model, variables, layout, inputs, ours, theirs, their_inputs, reference, folder, atol=1e-5):
    """Compares the gradient of every parameter, mapped by the layout like the weights.

    `ours(outputs)` and `theirs(outputs)` are the same scalar of what the two models give. Gradients are compared
    relative to the largest of their tensor, where that is above 1.
    """
    reference.zero_grad()
    theirs(reference(**their_inputs)).backward()
    with torch.no_grad():
        for parameter in reference.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.copy_(gradient)
    tensors, _ = saved(reference, folder)
    expected, _ = to_ours(tensors, variables, layout)

    def loss(params):
        return ours(model.apply({"params": params}, **inputs, train=False))

    found = jax.jit(jax.grad(loss))(jax.tree.map(jnp.asarray, variables["params"]))
    wanted = trees.flatten(expected["params"])
    for name, leaf in trees.flatten(found).items():
        scale = max(1.0, float(np.abs(wanted[name]).max()))
        np.testing.assert_allclose(leaf, wanted[name], rtol=0, atol=atol * scale, err_msg=name)
