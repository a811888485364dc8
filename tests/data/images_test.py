import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.images import decode_image
from jaxdl.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
SMOOTH = np.broadcast_to(np.linspace(0, 255, 30)[None, :, None], (20, 30, 3)).astype(np.uint8)


def encode(image, form="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_the_same_pixels(form):
    pixels = decode_image(encode(COLOUR, form))
    assert pixels.dtype == np.uint8
    assert (pixels == COLOUR).all()
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_close(form):
    assert np.abs(decode_image(encode(SMOOTH, form)).astype(int) - SMOOTH).mean() < 3


def test_gray_and_colour():
    gray = COLOUR[..., 0]
    assert (decode_image(encode(gray)) == gray[..., None]).all()
    assert (decode_image(encode(gray), channels=1) == gray[..., None]).all()
    expected = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode_image(encode(COLOUR), channels=1)[..., 0] - expected).max() <= 1
    assert (decode_image(encode(COLOUR), channels=4)[..., 3] == 255).all()


def test_transparent_pixels_lie_on_white():
    rgba = np.dstack([COLOUR, np.zeros((20, 30), np.uint8)])
    rgba[:10, :, 3] = 255
    pixels = decode_image(encode(rgba))
    assert (pixels[:10] == COLOUR[:10]).all()
    assert (pixels[10:] == 255).all()
    assert (decode_image(encode(rgba), channels=4) == rgba).all()


def test_transparent_gray():
    both = np.zeros((4, 4, 2), np.uint8)
    assert (decode_image(encode(Image.fromarray(both, "LA")), channels=1) == 255).all()


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    image.putpixel((1, 0), 1)
    pixels = decode_image(encode(image, transparency=1))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert decode_image(encode(image))[0, 1].tolist() == [0, 0, 255]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_upper_byte(form):
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert decode_image(encode(deep, form), channels=1)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert decode_image(encode(deep, form), channels=3)[0, :, 2].tolist() == [0, 0, 1, 128, 255]


def test_one_bit_and_cmyk():
    assert decode_image(encode(Image.new("1", (3, 3), 1)), channels=1).tolist() == [[[255]] * 3] * 3
    assert decode_image(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))[0, 0].tolist() == [255, 255, 255]


def test_floats_are_refused():
    with pytest.raises(DataError, match="32-bit floats"):
        decode_image(encode(np.zeros((2, 2), np.float32), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    # What the camera stored, so that turning it as the standard says gives COLOUR again.
    stored = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (decode_image(encode(np.ascontiguousarray(stored), exif=exif)) == COLOUR).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter():
    data = encode(SMOOTH, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_image(data).shape == SMOOTH.shape


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"hello world", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image(data):
    with pytest.raises(DataError, match=r"empty|known format"):
        decode_image(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF"])
def test_truncated_images_are_refused(form):
    data = encode(COLOUR, form)
    for length in range(1, len(data) - 60, 61):
        with pytest.raises(DataError):
            decode_image(data[:length])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF"])
def test_damaged_images_decode_or_are_refused(form):
    rng, data, refused = np.random.default_rng(1), encode(COLOUR, form), 0
    for _ in range(100):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 300), 5):
            damaged[place] = rng.integers(256)
        try:
            assert decode_image(bytes(damaged)).shape[2] == 3
        except DataError:
            refused += 1
    assert refused > 0


def test_every_flipped_bit_of_a_png_is_noticed_or_harmless():
    data, noticed = encode(COLOUR[:8, :8]), 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 16
        try:
            assert (decode_image(bytes(damaged)) == COLOUR[:8, :8]).all()
        except DataError:
            noticed += 1
    assert noticed > 0.8 * len(data)


@pytest.mark.parametrize(
    ("width", "height"), [(8001, 8000), (12_000, 9_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)]
)
def test_huge_headers_are_refused_before_decoding(width, height):
    with pytest.raises(DataError, match=r"limit|larger"):
        decode_image(png_header(width, height))


def test_unknown_channels():
    with pytest.raises(ValueError, match="2"):
        decode_image(encode(COLOUR), channels=2)
