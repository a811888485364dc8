"""Fuzz targets: images, sounds and arrays."""

import gzip
import io
import struct
import wave

import numpy as np

from jaxdl.data import images
from jaxdl.data.audio import wav
from jaxdl.data.sources import array_record, read_idx
from jaxdl.data.sources.array_records import write_array_record
from tests.security.fuzz_inputs import folder, written


def image(data: bytes) -> None:
    for channels in (1, 3, 4):
        images.decode_image(data, channels)


def image_seeds() -> tuple[bytes, ...]:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    made = []
    for kind, mode in [
        *(("PNG", "RGB"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK")),
        *(("WEBP", "RGBA"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F"), ("PPM", "L")),
    ]:
        buffer = io.BytesIO()
        whole = Image.fromarray(pixels)
        whole = Image.fromarray(pixels[..., 0].astype(np.uint16)) if mode == "I;16" else whole.convert(mode)
        options = {"compression": "tiff_lzw"} if (kind, mode) == ("TIFF", "RGB") else {}
        exif = Image.Exif()
        exif[0x0112] = 6
        if kind in ("JPEG", "PNG", "WEBP"):
            options["exif"] = exif
        whole.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return tuple(made)


def idx(data: bytes) -> None:
    read_idx(written("data-idx", data))


def idx_seeds() -> tuple[bytes, ...]:
    plain = b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 4) + bytes(range(24))
    floats = b"\0\0\x0d\x01" + struct.pack(">I", 5) + np.arange(5, dtype=">f4").tobytes()
    many = b"\0\0\x08\x46" + struct.pack(">I", 1) * 70 + b"x"
    return (
        plain,
        floats,
        many,
        gzip.compress(plain, mtime=0),
        gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2**28)),
    )


def sound(data: bytes) -> None:
    path = written("sound.wav", data)
    try:
        wav.wav_length(path)
    finally:
        wav.read_wav(path)


def sound_seeds() -> tuple[bytes, ...]:
    made = []
    for channels, width in ((1, 1), (2, 2), (3, 3), (1, 4)):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(8000)
            file.writeframes(bytes(range(channels * width * 12)))
        made.append(buffer.getvalue())
    for bits in (32, 64):
        samples = np.linspace(-1, 1, 9).astype(f"<f{bits // 8}").tobytes()
        head = struct.pack("<HHIIHH", 3, 1, 8000, 8000 * bits // 8, bits // 8, bits)
        chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(samples)) + samples
        made.append(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)
    return tuple(made)


def records_file(data: bytes) -> None:
    """An ArrayRecord file of which every record is read."""
    source = array_record(path=written("records.array_record", data))
    for index in range(min(len(source), 4)):
        source[index]


def records_file_seeds() -> tuple[bytes, ...]:
    path = folder() / "sound.array_record"
    write_array_record(str(path), [{"image": b"abc", "label": np.int32(n)} for n in range(3)])
    return (path.read_bytes(),)


def record(data: bytes) -> None:
    """One record of an ArrayRecord file, whose checksum someone who forges it would get right."""
    source = _OneRecord(files=("forged",))
    object.__setattr__(source, "_records", [data])
    object.__setattr__(source, "_ends", np.array([1]))
    source[0]


def _one_record() -> type:
    from jaxdl.data.sources.array_records import ArrayRecordSource

    return ArrayRecordSource


_OneRecord = _one_record()


def record_seeds() -> tuple[bytes, ...]:
    from safetensors.numpy import save

    return (save({"image": np.zeros((2, 3), np.uint8), "label": np.array(1, np.int32)}),)
