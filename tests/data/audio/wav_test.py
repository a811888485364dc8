import io
import os
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from jaxdl.data.audio import Sound, decode_wav, read_wav, wav_length
from jaxdl.data.audio import wav as module
from jaxdl.errors import DataError

SAMPLES = np.random.default_rng(0).uniform(-0.9, 0.9, (100, 2))


def written(samples, dtype, rate=8000):
    """A file as SciPy writes it; integers fill the range of their type."""
    if dtype == "uint8":
        samples = np.round(samples * 128 + 128)
    elif np.issubdtype(np.dtype(dtype), np.integer):
        samples = np.round(samples * np.iinfo(dtype).max)
    stream = io.BytesIO()
    wavfile.write(stream, rate, samples.astype(dtype))
    return stream.getvalue()


def with_24_bits(samples):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((samples.shape[1], 3, 8000, 0, "NONE", ""))
        values = np.round(samples * (2**23 - 1)).astype("<i4")
        file.writeframes(b"".join(int(one).to_bytes(4, "little", signed=True)[:3] for one in values.ravel()))
    return stream.getvalue()


GOOD = written(SAMPLES, "int16")


@pytest.mark.parametrize(
    ("dtype", "error"), [("uint8", 2**-7), ("int16", 2**-14), ("int32", 1e-6), ("float32", 1e-6), ("float64", 1e-6)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_those_that_were_written(dtype, error, channels):
    samples = SAMPLES[:, :channels]
    sound = decode_wav(written(samples, dtype))
    assert (sound.rate, sound.samples.dtype) == (8000, np.float32)
    np.testing.assert_allclose(sound.samples, samples.mean(axis=1), atol=error)


def test_24_bits_are_read():
    np.testing.assert_allclose(decode_wav(with_24_bits(SAMPLES)).samples, SAMPLES.mean(axis=1), atol=1e-6)


def test_full_scale_is_one():
    for dtype, least, most in (("uint8", 0, 255), ("int16", -(2**15), 2**15 - 1), ("int32", -(2**31), 2**31 - 1)):
        stream = io.BytesIO()
        wavfile.write(stream, 8000, np.asarray([least, most], dtype))
        low, high = decode_wav(stream.getvalue()).samples
        assert low == -1
        assert 0.99 < high <= 1


def test_the_extensible_format_and_other_chunks_are_read():
    form = struct.pack("<HHIIHHHHIH14x", 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4, 1)
    data = np.arange(4, dtype="<i2").tobytes()
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"LIST", b"odd"), (b"fmt ", form), (b"data", data))
    )
    found = decode_wav(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    np.testing.assert_array_equal(found.samples * 2**15, [0, 1, 2, 3])


def test_a_long_recording_is_read_in_parts(monkeypatch, tmp_path):
    (tmp_path / "a.wav").write_bytes(GOOD)
    whole = read_wav(tmp_path / "a.wav")
    monkeypatch.setattr(module, "_BLOCK", 7)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav").samples, whole.samples)
    assert isinstance(whole, Sound)


def changed(place, form, value):
    data = bytearray(GOOD)
    struct.pack_into(form, data, place, value)
    return bytes(data)


BAD = {
    "is empty": b"",
    "is no WAV file: it begins with b'fLaC'": b"fLaC" + GOOD[4:],
    "it has no sound": GOOD[:36],
    "its format is missing": GOOD[:16] + struct.pack("<I", 4) + GOOD[20:24],
    "announces 400 bytes of sound, and holds 399": GOOD[:-1],
    "holds no samples": changed(40, "<I", 0)[:44],
    "2 channels of 0 samples a second": changed(24, "<I", 0),
    "2 channels of 4000000000 samples": changed(24, "<I", 4_000_000_000),
    "0 channels": changed(22, "<H", 0),
    "format 85 with 16 bits": changed(20, "<H", 85),
    "format 1 with 12 bits": changed(34, "<H", 12),
    "contradicts itself": changed(32, "<H", 3),
    "announces 398 bytes": changed(40, "<I", 398),
    "before its format": GOOD[:12] + GOOD[36:],
    "not finite": written(np.full((3, 1), np.nan), "float32"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_files_are_refused_by_name(reason, tmp_path):
    (tmp_path / "bad.wav").write_bytes(BAD[reason])
    with pytest.raises(DataError, match=reason) as error:
        read_wav(tmp_path / "bad.wav")
    assert str(tmp_path / "bad.wav") in str(error.value)
    with pytest.raises(DataError, match=f"^The sound .*{reason}"):
        decode_wav(BAD[reason])
    if reason != "not finite":
        with pytest.raises(DataError, match=reason):
            wav_length(tmp_path / "bad.wav")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("none.wav", "No such file"), (".", "is no file"), ("pipe", "is no file")):
        with pytest.raises(DataError, match=reason):
            read_wav(tmp_path / name)


def test_an_hour_is_the_limit(tmp_path):
    with open(tmp_path / "long.wav", "wb") as file:  # Sparse: it takes no room on the disk.
        header = bytearray(written(np.zeros((1, 1)), "uint8", rate=1)[:44])
        struct.pack_into("<I", header, 40, 3601)
        file.write(header)
        file.truncate(44 + 3601)
    with pytest.raises(DataError, match="3,601 seconds long; the limit is 3,600"):
        read_wav(tmp_path / "long.wav")


def test_the_header_tells_the_length(tmp_path):
    (tmp_path / "a.wav").write_bytes(GOOD)
    assert wav_length(tmp_path / "a.wav") == (100, 8000)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4), st.integers(0, len(GOOD)))
def test_nothing_but_a_data_error_comes_of_broken_bytes(changes, length):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        sound = decode_wav(bytes(data[:length]))
    except DataError:
        return
    assert np.isfinite(sound.samples).all()
    assert 1 <= len(sound.samples) <= 400
