import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.convert import to_ours, to_theirs
from jaxdl.interop.families import resnet
from jaxdl.models import ResNet

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.convolutional import compare, compare_gradients, make_with_statistics  # noqa: E402
from tests.interop.reference import shapes  # noqa: E402

BASIC = {"embedding_size": 4, "hidden_sizes": [4, 8, 16, 32], "depths": [2, 2, 2, 2], "layer_type": "basic"}
BOTTLENECK = {"embedding_size": 2, "hidden_sizes": [8, 16, 32, 64], "depths": [3, 4, 6, 3]}


def test_outputs_and_gradients_equal_theirs_and_the_file_comes_back(tmp_path):
    reference = make_with_statistics(
        transformers.ResNetForImageClassification, transformers.ResNetConfig(**BASIC, num_labels=5)
    )
    model, variables, image = compare(reference, resnet, tmp_path, 40)
    assert (model.depth, model.width, model.num_classes) == (18, 4, 5)
    compare_gradients(reference, resnet, model, variables, image)


@pytest.mark.slow
def test_bottlenecks_without_a_head_equal_theirs(tmp_path):
    reference = make_with_statistics(transformers.ResNetModel, transformers.ResNetConfig(**BOTTLENECK))
    model, _, _ = compare(reference, resnet, tmp_path, 33)
    assert (model.depth, model.num_classes) == (50, None)


def test_the_full_size_has_the_tensors_of_theirs():
    with torch.device("meta"):
        reference = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    ours = shapes(ResNet(num_classes=1000, depth=50), {"image": jnp.zeros((1, 64, 64, 3))})
    written, _ = to_theirs(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), ours), resnet.layout())
    assert {name: leaf.shape for name, leaf in written.items()} == {
        name: tuple(leaf.shape) for name, leaf in reference.state_dict().items()
    }


def torchvision_names(blocks, convolutions):
    """The names that torchvision's definition gives, written out from it."""

    def normalized(prefix, conv, norm):
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{prefix}{conv}.weight", *(f"{prefix}{norm}.{kind}" for kind in kinds)]

    names = normalized("", "conv1", "bn1")
    for stage, count in enumerate(blocks, start=1):
        for index in range(count):
            for number in range(1, convolutions + 1):
                names += normalized(f"layer{stage}.{index}.", f"conv{number}", f"bn{number}")
            if index == 0 and (stage > 1 or convolutions == 3):
                names += normalized(f"layer{stage}.{index}.downsample.", "0", "1")
    return {*names, "fc.weight", "fc.bias"}


@pytest.mark.parametrize(("depth", "blocks", "convolutions"), [(18, (2, 2, 2, 2), 2), (50, (3, 4, 6, 3), 3)])
def test_torchvision_names_are_written_and_read(depth, blocks, convolutions):
    model = ResNet(num_classes=3, depth=depth, width=2)
    ours = shapes(model, {"image": jnp.zeros((1, 64, 64, 3))})
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), ours)
    written, _ = to_theirs(variables, resnet.torchvision())
    assert set(written) == torchvision_names(blocks, convolutions)
    assert written["fc.weight"].shape == (3, model.width * 8 * (4 if convolutions == 3 else 1))
    again, _ = to_ours(written, ours, resnet.torchvision())
    for name, leaf in trees.flatten(variables).items():
        np.testing.assert_array_equal(trees.flatten(again)[name], leaf, name)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"downsample_in_bottleneck": True}, "downsample_in_bottleneck=True"),
        ({"depths": [1, 1, 1, 1]}, "depths="),
        ({"hidden_sizes": [8, 8, 8, 8]}, "hidden_sizes="),
        ({"architectures": ["ResNetBackbone"]}, "architectures="),
    ],
)
def test_options_that_are_not_implemented_are_refused_by_name(option, message):
    with pytest.raises(ConfigError, match=message):
        resnet.model_from({**BOTTLENECK, **option})
