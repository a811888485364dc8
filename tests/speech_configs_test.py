"""The config of spoken digits: on tones in place of voices, end to end."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from scipy.io import wavfile

from jaxdl import config
from jaxdl.cli import main
from jaxdl.errors import ConfigError
from jaxdl.train import Experiment, train

pytestmark = pytest.mark.usefixtures("here_on_one_device")

TINY = ("model.features=16", "model.num_layers=1", "model.num_heads=2")
SHORT = ("train.batch_size=8", "tensorboard=false", "evals.test.data.batch_size=8")


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Seven takes of three digits by two speakers; each digit is a chord of its own, each speaker has a loudness."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    for digit in (1, 6, 8):
        for loud, name in ((0.2, "ann"), (0.6, "ben")):
            for take in range(7):
                times = np.arange(random.integers(2400, 5000)) / 8000
                chord = sum(np.sin(2 * np.pi * digit * 150 * part * times) for part in (1, 3))
                samples = loud * chord / 2 + random.normal(size=len(times)) * 0.01
                wavfile.write(folder / f"{digit}_{name}_{take}.wav", 8000, (samples * 20_000).astype(np.int16))
    return folder


def built(path, *flags):
    tree = config.override(config.load(path), (*SHORT, *flags))
    config.check(tree, Experiment)
    return dataclasses.replace(config.build(tree), steps_per_dispatch=1)


def test_speakers_or_takes_are_held_out(tones):
    takes = built(f"configs/speech/digits.py:{tones}", "steps=2")
    speaker = built(f"configs/speech/digits.py:{tones}:whisper:ben", "steps=2")
    assert (len(takes.train.source), len(takes.evals["test"].data.source)) == (12, 30)
    assert (len(speaker.train.source), len(speaker.evals["test"].data.source)) == (21, 21)
    assert set(speaker.train.source.records.fields["speaker"]) == {"ann"}
    assert set(speaker.evals["test"].data.source.records.fields["speaker"]) == {"ben"}
    # The letters of "one", "six" and "eight", after six special tokens.
    assert takes.task.vocabulary_size == takes.model.vocab_size == 6 + len(set("onesixeight"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conformer", "whisper"])
def test_two_steps_and_their_evaluation(kind, tones, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    flags = [f"--config.{flag}" for flag in ("steps=2", *SHORT, *TINY)]
    path = f"configs/speech/digits.py:{tones}:{kind}"
    assert main(["train", "--config", path, "--workdir", str(tmp_path / "run"), "--quiet", *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if row["kind"] == "test"][-1]
    assert all(math.isfinite(logged[name]) for name in ("loss", "wer", "cer"))
    capsys.readouterr()
    assert main(["evaluate", "--workdir", str(tmp_path / "run"), "--json", "--replicates", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == 30
    assert found["wer"] == pytest.approx(logged["wer"])
    low, high = found["intervals_95"]["cer"]
    assert low <= found["cer"] <= high
    assert "of the references" in found["signatures"]["wer"]


@pytest.mark.slow
def test_tones_are_told_apart(tones):
    flags = ("steps=120", "model.features=32", "model.num_layers=1", "optimizer.learning_rate.warmup_steps=10")
    experiment = built(f"configs/speech/digits.py:{tones}:whisper", *flags)
    assert train(experiment, quiet=True).results["test/wer"] < 20


def test_a_model_that_is_not_there_is_named(tones):
    with pytest.raises(ConfigError, match="one of conformer, whisper, not 'wav2vec'"):
        config.load(f"configs/speech/digits.py:{tones}:wav2vec")
