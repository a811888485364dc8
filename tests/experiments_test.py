"""Papers in one file each: they train, measure what they claim, and come back from their run folders."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config
from jaxdl.cli import main
from jaxdl.train import Experiment, assemble, train
from jaxdl.train.writers import read_rows

pytestmark = pytest.mark.usefixtures("here_on_one_device")


def experiment(path, *overrides, **changes):
    tree = config.override(config.load(path), overrides)
    config.check(tree, Experiment)
    return dataclasses.replace(config.build(tree), tensorboard=False, **changes)


def namespace(name):
    import importlib

    return importlib.import_module(f"experiments.papers.{name}")


def test_a_mixture_is_likelier_than_one_gaussian():
    losses = {}
    for components in (1, 3):
        small = experiment(f"experiments/papers/mixture_density.py:{components}", "steps=1000", "log_every=1000")
        results = train(small, quiet=True).results
        losses[components] = results["test/loss"]
        # The conditional mean leaves about 0.048 of the variance of t, 1 / 12, however many components there are.
        assert 0.04 < results["test/mse_of_mean"] < 0.06
    assert losses[3] < losses[1] - 0.3
    assert losses[1] < 0.2


def test_the_likelihood_of_one_component_is_that_of_a_gaussian():
    paper = namespace("mixture_density")
    outputs = {
        "logits": jnp.zeros((2, 1)),
        "mean": jnp.array([[0.5], [0.0]]),
        "log_scale": jnp.log(jnp.full((2, 1), 2)),
    }
    expected = [0.5 * ((t - mean) / 2) ** 2 + math.log(2 * math.sqrt(2 * math.pi)) for t, mean in ((1, 0.5), (-3, 0))]
    np.testing.assert_allclose(paper.negative_log_likelihood(outputs, jnp.array([1.0, -3.0])), expected, rtol=1e-6)


def test_the_density_of_a_mixture_integrates_to_one():
    paper = namespace("mixture_density")
    outputs = {name: jnp.array([value]) for name, value in
               {"logits": [0.3, -1.0], "mean": [-0.5, 1.0], "log_scale": [-1.0, 0.2]}.items()}  # fmt: skip
    t = np.linspace(-12, 12, 4001, dtype=np.float32)
    many = jax.tree.map(lambda x: jnp.repeat(x, len(t), axis=0), outputs)
    density = np.exp(-np.asarray(paper.negative_log_likelihood(many, jnp.asarray(t))))
    assert np.trapezoid(density, t) == pytest.approx(1, abs=1e-3)


def test_the_command_trains_and_evaluates_a_paper(tmp_path, capsys):
    path, workdir = "experiments/papers/mixture_density.py", str(tmp_path / "run")
    flags = ["--config.steps=200", "--config.log_every=100", "--quiet"]
    assert main(["train", "--config", path, "--workdir", workdir, *flags]) == 0
    rows = [row["loss"] for row in read_rows(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "train"]
    assert len(rows) == 2
    assert rows[1] < rows[0]
    assert main(["evaluate", "--workdir", workdir, "--allow", "experiments", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == 1000
    assert found["loss"] == pytest.approx(
        json.loads((tmp_path / "run" / "summary.json").read_text())["results"]["test/loss"], abs=1e-4
    )
    low, high = found["intervals_95"]["loss"]
    assert low < found["loss"] < high
    assert main(["evaluate", "--workdir", workdir]) == 2
    assert "add --allow experiments" in capsys.readouterr().err


def test_the_frechet_distance_by_hand():
    paper = namespace("gan")
    distance = lambda a, b: float(paper.FrechetDistance.of(a, b, jnp.ones(len(a))).compute())  # noqa: E731
    random = np.random.default_rng(0)
    image = jnp.asarray(random.uniform(size=(200, 2, 2, 1)), jnp.float32)
    assert distance(image, image) == pytest.approx(0, abs=1e-3)
    assert distance(image, image + 0.5) == pytest.approx(4 * 0.25, abs=1e-3)
    # Scaling by 3 about the mean: the roots of the covariances differ by a factor of 3.
    mean = jnp.mean(image, axis=0, keepdims=True)
    variance = float(jnp.sum(jnp.var(image, axis=0)))
    assert distance(image, mean + 3 * (image - mean)) == pytest.approx(4 * variance, rel=1e-3)


def test_padding_does_not_count_in_the_frechet_distance():
    paper = namespace("gan")
    random = np.random.default_rng(0)
    image, other = (jnp.asarray(random.uniform(size=(50, 2, 2, 1)), jnp.float32) for _ in range(2))
    alone = paper.FrechetDistance.of(image, other, jnp.ones(50)).compute()
    padded = paper.FrechetDistance.of(
        jnp.concatenate([image, image]), jnp.concatenate([other, other]), jnp.repeat(jnp.array([1.0, 0.0]), 50)
    ).compute()
    np.testing.assert_allclose(padded, alone, rtol=1e-5)


def test_two_players_make_better_digits_and_resume(tmp_path):
    small = experiment("experiments/papers/gan.py", "steps=300", "saving.every=150", "evals.test.every=50")
    whole = train(small, quiet=True)
    train(dataclasses.replace(small, steps=150), tmp_path, quiet=True)
    resumed = train(small, tmp_path, quiet=True)
    for a, b in zip(jax.tree.leaves(whole.state.params), jax.tree.leaves(resumed.state.params), strict=True):
        np.testing.assert_array_equal(a, b)
    distances = [row["frechet_distance"] for row in read_rows(tmp_path / "metrics.jsonl") if row["kind"] == "test"]
    assert len(distances) == 6
    assert distances[-1] < 0.8 * distances[0]
    made = assemble(small).predict(whole.state, small.train[0])
    assert made.shape == (64, 8, 8, 1)
    assert 0 <= made.min() < 0.1 < 0.6 < made.max() <= 1
