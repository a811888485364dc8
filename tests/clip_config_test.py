"""The config of CLIP: two steps, its evaluation, and predictions without captions."""

import json
import math

import numpy as np
import pytest

from jaxdl import config
from jaxdl.cli import main
from jaxdl.data.sources import digits
from jaxdl.inference import load, predict_images
from jaxdl.train import Experiment, train

pytestmark = pytest.mark.usefixtures("here_on_one_device")

PATH = "configs/vision/clip_digits.py"
TOWERS = ("image_encoder", "text_encoder")
TINY = tuple(f"model.{tower}.{size}" for tower in TOWERS for size in ("features=16", "num_layers=1", "hidden=16"))
RECALLS = {f"{way}_recall{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)}


def built(*flags):
    tree = config.override(config.load(PATH), ("tensorboard=false", *flags))
    config.check(tree, Experiment)
    return config.build(tree)


@pytest.mark.slow
def test_it_takes_two_steps_measures_and_predicts_without_captions(tmp_path):
    image = pytest.importorskip("PIL.Image")
    flags = [f"--config.{flag}" for flag in ("tensorboard=false", "train.batch_size=16", *TINY, "steps=2")]
    assert main(["train", "--config", PATH, "--workdir", str(tmp_path / "run"), "--quiet", *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = [row for row in rows if row["kind"] == "test"][-1]
    names = {"loss", "similarity", "scale", "zero_shot_accuracy", *RECALLS}
    assert names <= set(found)
    assert all(math.isfinite(found[name]) for name in names)
    assert found["scale"] == pytest.approx(1 / 0.07, rel=0.01)
    source = digits(split="test")
    for row in range(3):
        image.fromarray(source[row]["image"][..., 0]).save(tmp_path / f"{row}.png")
    loaded = load(tmp_path / "run")
    answers = list(predict_images(loaded, [tmp_path / f"{row}.png" for row in range(3)], batch_size=4))
    assert loaded.labels == tuple("0123456789")
    for answer in answers:
        assert answer.values["probabilities"].shape == (10,)
        assert answer.values["label"] == answer.values["probabilities"].argmax()


@pytest.mark.slow
def test_captions_teach_classes():
    experiment = built("steps=400", "model.image_encoder.num_layers=2", "model.text_encoder.num_layers=1")
    results = train(experiment, quiet=True).results
    assert results["test/zero_shot_accuracy"] > 0.4
    # Every caption of a class is right for each of its images.
    assert results["test/image_to_text_recall1"] == pytest.approx(results["test/zero_shot_accuracy"], abs=0.1)


def test_the_classes_of_task_and_data_are_one():
    experiment = built()
    for source in (experiment.train.source, experiment.evals["test"].data.source):
        assert len(source.labels) == experiment.task.num_classes == 10
        row = source[7]
        ids = tuple(row["tokens"][row["token_mask"] != 0].tolist())
        assert ids in experiment.task.prompts[int(row["label"])]
    np.testing.assert_array_equal(experiment.train.source[0]["match"], experiment.train.source[0]["label"])
