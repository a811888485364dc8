"""A LoRA from the config: training moves the adapters alone, and the merged export predicts the same."""

import chex
import jax
import numpy as np
import pytest
from safetensors import safe_open

from jaxdl import config as configs
from jaxdl.cli import main
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.errors import ConfigError
from jaxdl.inference import load, merge_lora
from jaxdl.models import MLP, LeNet, LoRA
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, train

INSIDE = spec(LeNet, num_classes=10, channels=(2, 3), dense_width=8, batch_norm=True)
ADAPTED = spec(LoRA, model=INSIDE, rank=2, targets=(r"conv_\d/kernel", "hidden/kernel"))


def run(folder, model, **changes):
    config = spec(
        Experiment,
        steps=5,
        model=model,
        task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=0.02),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=32),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120))},
        tensorboard=False,
        steps_per_dispatch=1,
        **changes,
    )
    return train(configs.build(config), folder, record={"config.json": configs.to_json(config)}, quiet=True)


def outputs_of(loaded):
    batch = {"image": digits(split="test").arrays["image"][:16], "mask": np.ones(16, np.float32)}
    return np.asarray(loaded.learner.predict(loaded.state, batch), np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora") / "run"
    outcome = run(folder, ADAPTED, frozen=("base/(?!head/).*",))
    return folder, outcome


def test_only_adapters_and_head_moved(trained):
    _, outcome = trained
    before = outcome.program.initial_state()
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), outcome.state.params, before.params)
    moved = {name for name, part in same["base"].items() if not all(jax.tree.leaves(part))}
    assert moved == {"head"}
    assert not any(jax.tree.leaves(same["lora"]))
    chex.assert_trees_all_equal(outcome.state.model_state, before.model_state)


def test_the_merged_export_predicts_the_same_and_needs_no_lora(trained, tmp_path, capsys):
    folder, _ = trained
    file = tmp_path / "merged.safetensors"
    assert main(["export", "--workdir", str(folder), "--output", str(file), "--merge-lora"]) == 0
    merged, expected = load(file), outputs_of(load(folder))
    np.testing.assert_allclose(outputs_of(merged), expected, atol=1e-6 * np.abs(expected).max())
    assert merged.config["model"]["call"] == INSIDE["call"]
    with safe_open(file, "numpy") as opened:
        assert "params/conv_0/kernel" in opened.keys()  # noqa: SIM118
        assert not [name for name in opened.keys() if "lora" in name or "base" in name]  # noqa: SIM118


def test_an_export_as_it_is_keeps_the_adapters(trained, tmp_path):
    folder, _ = trained
    file = tmp_path / "adapted.safetensors"
    assert main(["export", "--workdir", str(folder), "--output", str(file)]) == 0
    np.testing.assert_array_equal(outputs_of(load(file)), outputs_of(load(folder)))
    chex.assert_trees_all_equal(merge_lora(load(file)).state.params, merge_lora(load(folder)).state.params)


def test_without_a_lora_there_is_nothing_to_merge(tmp_path):
    run(tmp_path / "plain", spec(MLP, num_classes=10, widths=(4,)))
    with pytest.raises(ConfigError, match="no LoRA to merge: the model is MLP"):
        merge_lora(load(tmp_path / "plain"))


def test_a_misspelt_target_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match="nearest are hidden/kernel"):
        run(tmp_path / "run", spec(LoRA, model=INSIDE, targets=("hiden/kernel",)))
