import jax.numpy as jnp
import pytest

from jaxdl import trees
from jaxdl.interop.families import convnext
from jaxdl.models.convnext import ConvNeXt

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.convolutional import compare, compare_gradients, make_with_statistics  # noqa: E402
from tests.interop.reference import shapes  # noqa: E402

# Two stages: each block takes seconds to compile.
TINY = {
    "num_stages": 2,
    "hidden_sizes": [4, 6],
    "depths": [1, 2],
    "layer_norm_eps": 1e-6,
    "layer_scale_init_value": 0.5,
}


def test_outputs_and_gradients_equal_theirs_and_the_file_comes_back(tmp_path):
    config = transformers.ConvNextConfig(**TINY, num_labels=5)
    reference = make_with_statistics(transformers.ConvNextForImageClassification, config)
    model, variables, image = compare(reference, convnext, tmp_path, 31)
    assert (model.depths, model.num_classes) == ((1, 2), 5)
    compare_gradients(reference, convnext, model, variables, image)


@pytest.mark.parametrize("option", [{"hidden_act": "gelu_new"}, {"layer_scale_init_value": 0.0, "patch_size": 2}])
def test_a_model_without_a_head_equals_theirs(tmp_path, option):
    config = transformers.ConvNextConfig(**{**TINY, **option})
    model, _, _ = compare(make_with_statistics(transformers.ConvNextModel, config), convnext, tmp_path, 16)
    assert model.num_classes is None


def test_the_full_size_has_the_shapes_of_theirs():
    with torch.device("meta"):
        reference = transformers.ConvNextForImageClassification(transformers.ConvNextConfig(num_labels=1000))
    ours = shapes(ConvNeXt(num_classes=1000), {"image": jnp.zeros((1, 64, 64, 3))})["params"]
    assert trees.count(ours) == sum(parameter.numel() for parameter in reference.parameters())
    expected = sorted(tuple(sorted(parameter.shape)) for parameter in reference.parameters())
    assert sorted(tuple(sorted(leaf.shape)) for leaf in trees.flatten(ours).values()) == expected
