"""Every config file loads, checks, fits its data, and takes two steps (on small stand-ins where the data is large)."""

import dataclasses
import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from jaxdl import config
from jaxdl.errors import ConfigError, DataError
from jaxdl.train import Experiment, train

pytestmark = pytest.mark.usefixtures("here_on_one_device")

ROOT = Path(__file__).parents[1]
# Those of text are in language_configs_test.py and generation_configs_test.py.
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "vision").glob("*.py"))
SLOW = ("transfer", "unet_denoise")
CLASSES = ("ant", "bee", "cat")
ZOO = (
    *("mlp", "mlp_mixer", "lenet", "vgg", "resnet", "wide_resnet"),
    *("mobilenet_v2", "mobilenet_v3", "efficientnet", "convnext", "vit", "deit"),
)
# Many layers take long to compile.
DEEP = tuple(name for name in ZOO if name not in ("mlp", "lenet"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`train`, `val` and `test` with eight images of 40 x 48 pixels in each of three classes."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory):
    """The four files of the MNIST family, with ten examples of each class."""
    root = tmp_path_factory.mktemp("idx")
    random = np.random.default_rng(0)
    labels = np.arange(100, dtype=np.uint8) % 10
    images = random.integers(0, 256, (100, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        for array, name in ((images, "images-idx3-ubyte"), (labels, "labels-idx1-ubyte")):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (root / f"{prefix}-{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return root


def stand_in(name, folder, idx_folder):
    """The argument of a config file and the flags that make it small; every new config belongs here."""
    image_folders = {
        f"{key}.source": f"jaxdl.data.sources:ImageFolder(path={folder}/{split})"
        for key, split in (("train", "train"), ("evals.validation.data", "val"))
    }
    return {
        "digits_cnn": ("", ()),
        "digits_mlp": ("", ()),
        "unet_denoise": ("", ()),
        "zoo": (":mlp", ()),
        "clip_digits": ("", ()),
        "fashion_mnist": (f":{idx_folder}", ("train.batch_size=16", "evals.test.data.batch_size=40")),
        "mnist": (f":{idx_folder}", ("train.batch_size=16", "evals.test.data.batch_size=40")),
        "cifar10": (
            f":8:{folder}",
            ("train.batch_size=8", "evals.test.data.batch_size=16", "model.num_classes=3", "task.num_classes=3"),
        ),
        "transfer": (f":{folder}/train:none:scratch", ("train.batch_size=8", "evals.test.data.batch_size=5")),
        "image_folder": (f":{folder}:32", ("train.batch_size=8", "model.width=4")),
        "imagenet_resnet50": (
            "",
            (
                *(f"{key}={value}" for key, value in image_folders.items()),
                *("train.batch_size=8", "evals.validation.data.batch_size=8", "train.transforms.1.size=32"),
                *("evals.validation.data.transforms.1.size=36", "evals.validation.data.transforms.2.size=32"),
                *("model.depth=18", "model.width=4", "model.num_classes=3", "task.num_classes=3"),
            ),
        ),
    }[Path(name).stem]


def loaded(name, folder, idx_folder):
    argument, flags = stand_in(name, folder, idx_folder)
    tree = config.override(config.load(f"{name}{argument}"), flags)
    config.check(tree, Experiment)
    return tree


@pytest.mark.parametrize("name", FILES)
def test_loads_checks_and_names_its_classes_once(name, folder, idx_folder):
    argument, _ = stand_in(name, folder, idx_folder)
    tree = config.load(f"{name}{argument}")
    config.check(tree, Experiment)
    if "num_classes" in tree.task:
        assert tree.model.num_classes == tree.task.num_classes
    assert tree.steps == tree.optimizer.learning_rate.steps
    shorter = config.override(tree, ["steps=777"])
    assert shorter.optimizer.learning_rate.steps == 777
    assert tree.saving.best is None or tree.saving.best.split("/")[0] in tree.evals
    assert f"configs/vision/{Path(name).name}" in (ROOT / name).read_text(), "its docstring shows the command"


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (Path(x).stem in SLOW)) for x in FILES])
def test_builds_and_takes_two_steps(name, folder, idx_folder):
    check_two_steps(config.build(loaded(name, folder, idx_folder)))


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in DEEP)) for x in ZOO])
def test_each_model_of_the_zoo_takes_two_steps(name):
    tree = config.load(f"configs/vision/zoo.py:{name}")
    config.check(tree, Experiment)
    assert tree.steps == tree.optimizer.learning_rate.steps
    check_two_steps(config.build(tree))


def test_the_zoo_names_what_it_has():
    with pytest.raises(ConfigError, match=f"{', '.join(ZOO)}, not 'alexnet'"):
        config.load("configs/vision/zoo.py:alexnet")


def check_two_steps(experiment):
    """Trains for two steps."""
    if experiment.train.source.labels:
        assert len(experiment.train.source.labels) == experiment.task.num_classes
    small = dataclasses.replace(experiment, steps=2, tensorboard=False, steps_per_dispatch=1)
    results = train(small, quiet=True).results
    assert all(math.isfinite(value) for value in results.values())
    assert experiment.saving.best is None or experiment.saving.best in results


def test_the_depth_of_cifar10_is_its_argument():
    assert config.load("configs/vision/cifar10.py").model.depth == 20
    tree = config.load("configs/vision/cifar10.py:56:somewhere")
    assert tree.model.depth == 56
    assert tree.train.source.source.path == "somewhere/train"
    assert tree.evals.test.data.source.source.path == "somewhere/test"
    with pytest.raises(ConfigError, match=r"depth must be 6 n [+] 2, such as 20, 32, 44, 56 or 110, not 21"):
        config.build(config.load("configs/vision/cifar10.py:21").model)


def test_image_folder_fits_itself_to_the_folder(folder):
    tree = config.load(f"configs/vision/image_folder.py:{folder}")
    assert (tree.model.num_classes, tree.model.stem, tree.train.transforms[1].size) == (3, "imagenet", 224)
    assert tree.steps == 90  # 24 images are one batch.
    tree = config.override(config.load(f"configs/vision/image_folder.py:{folder}:64"), ["train.batch_size=8"])
    assert (tree.model.stem, tree.train.transforms[1].size, tree.steps) == ("cifar", 64, 270)
    assert tree.evals.val.data.batch_size == 8
    with pytest.raises(DataError, match=r"The image folder .*nowhere/train cannot be read"):
        config.load("configs/vision/image_folder.py:nowhere")
