import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from jaxdl import config as configs
from jaxdl.augment import RandomCrop
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, ImageFolder, digits, in_memory
from jaxdl.data.transforms import CenterCrop, Decode
from jaxdl.errors import CheckpointError, ConfigError, WorkdirError
from jaxdl.inference import export, load, predict_images
from jaxdl.learners import Precision
from jaxdl.models import MLP, LeNet
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving, train


def written(**changes):
    settings = {
        "steps": 6,
        "model": spec(MLP, num_classes=10, widths=(8,)),
        "task": spec(Classification, num_classes=10),
        "optimizer": spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        "train": spec(Pipeline, source=spec(digits, split="train"), batch_size=32),
        "evals": {
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=3)
        },
        "tensorboard": False,
        "steps_per_dispatch": 1,
    }
    return spec(Experiment, **{**settings, **changes})


def run(config, folder):
    experiment = configs.build(config)
    return train(experiment, folder, record={"config.json": configs.to_json(config)}, quiet=True)


def outputs_of(loaded):
    batch = {"image": digits(split="test").arrays["image"][:16], "mask": np.ones(16, np.float32)}
    return np.asarray(loaded.learner.predict(loaded.state, batch), np.float32)


MODEL_WITH_STATE = spec(LeNet, num_classes=10, channels=(2,), dense_width=8, batch_norm=True)
VARIANTS = {
    "plain": {},
    "batch_norm": {"model": MODEL_WITH_STATE},
    "averaged": {"ema_decay": 0.5},
    "bfloat16": {"precision": spec(Precision, params="bfloat16", compute="bfloat16")},
    "augmented": {"augment": spec(RandomCrop, padding=1)},
    "frozen": {"frozen": (".*bias",)},
}


SLOW = ("plain", "augmented", "frozen")


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in VARIANTS]
)
def test_what_is_loaded_predicts_as_what_was_trained_and_so_does_its_export(tmp_path, variant):
    outcome = run(written(**VARIANTS[variant]), tmp_path / "run")
    loaded = load(tmp_path / "run")
    batch = {"image": digits(split="test").arrays["image"][:16], "mask": np.ones(16, np.float32)}
    expected = np.asarray(outcome.program.learner.predict(outcome.state, batch), np.float32)
    tolerance = 0.05 if variant == "bfloat16" else 1e-5
    np.testing.assert_allclose(outputs_of(loaded), expected, rtol=tolerance, atol=tolerance)
    assert (loaded.step, loaded.labels) == (6, tuple("0123456789"))
    export(loaded, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(outputs_of(again), outputs_of(loaded))
    assert (again.step, again.labels) == (loaded.step, loaded.labels)
    assert again.learner.predict is not loaded.learner.predict
    kinds = [jax.tree.map(lambda x: (x.shape, str(x.dtype)), one.state.params) for one in (again, loaded)]
    assert kinds[0] == kinds[1]


def test_the_header_of_an_export_is_for_any_reader(tmp_path):
    run(written(model=MODEL_WITH_STATE), tmp_path / "run")
    loaded = load(tmp_path / "run")
    export(loaded, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert any(name.startswith("params/") and name.endswith("/kernel") for name in names)
    assert any(name.startswith("model_state/batch_stats/") for name in names)
    kept = json.loads(metadata["config"])["config"]
    assert kept.keys() == {"call", "evals", "learner", "model", "precision", "task"}
    assert json.loads(metadata["facts"])["labels"] == list("0123456789")
    export(load(tmp_path / "model.safetensors"), tmp_path / "again.safetensors")
    with safe_open(tmp_path / "again.safetensors", framework="numpy") as file:
        assert file.metadata() == metadata
        assert set(file.keys()) == names
    with pytest.raises(WorkdirError, match="cannot be written"):
        export(loaded, tmp_path / "nowhere" / "model.safetensors")


def test_the_best_step_is_loaded_where_one_is_kept(tmp_path):
    run(written(saving=spec(Saving, best="test/loss", mode="max", keep=5)), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    loss = {row["step"]: row["loss"] for row in rows if row["kind"] == "test"}
    assert load(tmp_path).step == load(tmp_path, step="best").step == max(loss, key=loss.get)
    assert load(tmp_path, step="last").step == 6
    assert load(tmp_path, step=3).step == 3
    for step in (4, "newest"):
        with pytest.raises(CheckpointError, match="step"):
            load(tmp_path, step=step)


def test_without_a_best_only_the_last_can_be_asked_for(tmp_path):
    run(written(), tmp_path)
    assert load(tmp_path).step == 6
    with pytest.raises(CheckpointError, match="kept no best checkpoint"):
        load(tmp_path, step="best")


@pytest.mark.parametrize("change", [{"format": 2}, {"format": None}, {"labels": None}, {"averaged": None}])
def test_facts_that_are_not_ours_are_refused(tmp_path, change):
    run(written(steps=1), tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    for name, value in change.items():
        facts[name] = value
        if value is None:
            del facts[name]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError):
        load(tmp_path)


def test_images_go_through_the_transforms_of_the_evaluation_wherever_they_are(tmp_path):
    """A dark frame around each digit, which the centre crop of the data takes away again."""
    source = digits(split="test")
    for i in range(24):
        path = tmp_path / "images" / str(source[i]["label"]) / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(source[i]["image"][..., 0], 8, constant_values=255)).save(path)
    folder = spec(ImageFolder, path=str(tmp_path / "images"))
    transforms = (spec(Decode, channels=1), spec(CenterCrop, size=(8, 8)))
    pipelines = {
        "pipeline": spec(Pipeline, source=folder, transforms=transforms, batch_size=8),
        "memory": spec(Pipeline, source=spec(in_memory, source=folder, transforms=transforms), batch_size=8),
    }
    for name, pipeline in pipelines.items():
        changed = written(train=pipeline, evals={"test": spec(Evaluation, data=pipeline)}, steps=1)
        run(changed, tmp_path / name)
        loaded = load(tmp_path / name)
        found = {p.file[-6:-4]: p.values["probabilities"] for p in predict_images(loaded, [tmp_path / "images"])}
        batch = {"image": source.arrays["image"][:24], "mask": np.ones(24, np.float32)}
        expected = loaded.task.decode(loaded.learner.predict(loaded.state, batch))["probabilities"]
        for i in range(24):
            np.testing.assert_allclose(found[f"{i:02d}"], expected[i], rtol=1e-4, atol=1e-6)


def test_a_model_of_something_else_than_images_says_so(tmp_path):
    run(written(steps=1), tmp_path)
    loaded = load(tmp_path)
    path = tmp_path / "x.png"
    Image.new("L", (8, 8)).save(path)
    other = dataclasses.replace(loaded, facts={**loaded.facts, "example": {"age": {"shape": [3], "dtype": "float32"}}})
    for broken, message in (
        (other, r"age \(3,\)"),
        (dataclasses.replace(loaded, task=None), "was trained without a task"),
    ):
        with pytest.raises(ConfigError, match=message):
            list(predict_images(broken, [path]))


def test_float_images_are_read_like_those_of_training(tmp_path):
    """Sources that hold floats in [0, 1] and sources that hold bytes give one and the same prediction."""
    arrays = digits(split="train").arrays
    source = ArraySource(arrays={**arrays, "image": arrays["image"].astype(np.float32) / 255})
    experiment = dataclasses.replace(configs.build(written(steps=2)), train=Pipeline(source=source, batch_size=32))
    train(experiment, tmp_path, record={"config.json": configs.to_json(written(steps=2))}, quiet=True)
    Image.fromarray(arrays["image"][0, ..., 0]).save(tmp_path / "x.png")
    loaded = load(tmp_path)
    (found,) = predict_images(loaded, [tmp_path / "x.png"])
    batch = {"image": source.arrays["image"][:1], "mask": np.ones(1, np.float32)}
    expected = loaded.task.decode(loaded.learner.predict(loaded.state, batch))["probabilities"][0]
    np.testing.assert_allclose(found.values["probabilities"], expected, rtol=1e-4, atol=1e-6)
