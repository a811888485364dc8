import dataclasses

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from jaxdl.data.audio import LogMel

SPEECH = LogMel(rate=8000, window=256, hop=80, num_mels=40)
RELATIVE = dataclasses.replace(SPEECH, relative=True)


def sound(seconds=1.3, rate=16_000, seed=0):
    """Noise that comes and goes over a tone."""
    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(times))
    samples = 0.1 * noise * np.sin(3 * times) ** 2 + 0.3 * np.sin(2 * np.pi * 440 * times)
    return samples.astype(np.float32)


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.011, 1.3, 30.0, 31.0])
def test_the_defaults_are_whisper_s(num_mels, seconds):
    extractor = WhisperFeatureExtractor(feature_size=num_mels)
    samples = sound(seconds)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="np")["input_features"][0].T
    found = LogMel(num_mels=num_mels)(samples, frames=3000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("window", [256, 255])
def test_power_and_bands_are_those_of_others(window):
    features = dataclasses.replace(SPEECH, window=window, decades=40.0)
    samples = sound(0.5, 8000)
    spectrum = torch.stft(
        torch.tensor(samples),
        n_fft=window,
        hop_length=80,
        window=torch.hann_window(window),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    if window % 2 == 0:  # transformers places the last frequency at half the rate.
        filters = mel_filter_bank(window // 2 + 1, 40, 0.0, 4000.0, 8000, norm="slaney", mel_scale="slaney")
        np.testing.assert_allclose(features.filters, filters, atol=1e-6)
    power = (spectrum.abs() ** 2).numpy().T @ features.filters
    expected = (np.log10(np.maximum(power, 1e-10)) + 4) / 4
    found = features(samples)
    middle = slice(4, 44)
    np.testing.assert_allclose(found[middle], expected[middle], atol=1e-4)


def test_a_tone_is_loudest_in_its_band():
    times = np.arange(8000) / 8000
    for hertz in (300, 1000, 3000):
        found = SPEECH(np.sin(2 * np.pi * hertz * times).astype(np.float32))
        band = int(found[50].argmax())
        nearest = int(SPEECH.filters[round(hertz * 256 / 8000)].argmax())
        assert band == nearest


@pytest.mark.parametrize("features", [SPEECH, RELATIVE], ids=["absolute", "relative"])
@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_silence_behind_changes_nothing_before(features, gain):
    samples = sound(0.4, 8000) * np.float32(gain)
    alone = features(samples)
    padded = features(samples, frames=100)
    assert len(alone) == features.frames(len(samples)) == 42
    np.testing.assert_allclose(padded[:42], alone, atol=1e-6)
    np.testing.assert_allclose(padded[42:], features.silence(alone), atol=1e-6)
    nothing = features(np.zeros(100, np.float32), frames=9)
    np.testing.assert_allclose(nothing, features.silence(nothing), atol=1e-6)


def test_relative_power_does_not_know_how_loud_it_is():
    samples = sound(0.4, 8000)
    found, quiet = RELATIVE(samples), RELATIVE(samples * np.float32(0.01))
    np.testing.assert_allclose(found, quiet, atol=1e-4)
    absolute = SPEECH(samples)
    np.testing.assert_allclose(found - 1, absolute - absolute.max(), atol=1e-5)


def test_long_sound_is_made_in_parts(monkeypatch):
    whole = SPEECH(sound(0.5, 8000))
    monkeypatch.setattr("jaxdl.data.audio.log_mel._BLOCK", 7)
    np.testing.assert_allclose(SPEECH(sound(0.5, 8000)), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"window": 1}, "window must be"),
        ({"hop": 300}, "hop in"),
        ({"num_mels": 0}, "num_mels"),
        ({"highest": 5000.0}, "half the rate"),
        ({"lowest": 4000.0}, "lowest"),
        ({"decades": 0.0}, "decades"),
        ({"num_mels": 300}, "of 300 mel bands hold no frequency"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(SPEECH, **changes)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((3, 2))])
def test_only_one_channel_makes_a_spectrum(samples):
    with pytest.raises(ValueError, match="one channel"):
        SPEECH(samples)
