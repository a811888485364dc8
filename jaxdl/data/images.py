"""Encoded image files to arrays, within stated bounds."""

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64_000_000
MAX_ENCODED_BYTES = 256 * 2**20
_LARGE_PIXELS = 8_000_000
_MOST_PIXELS_PER_BYTE = 1000  # A white PNG has fewer: 344 in colour.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Pillow's parsers raise whatever the byte that they stumbled on led to (or warn, where warnings are errors).
_CORRUPT = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    SyntaxError,
    TypeError,
    UserWarning,
    ValueError,
)


def decode_image(data: bytes, channels: int = 3) -> np.ndarray:
    """An encoded image (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM) as uint8 (H, W, channels).

    The image is turned as its EXIF orientation says. Transparent pixels lie on white, unless `channels` is 4.
    16-bit gray becomes 8-bit by its upper byte, colour becomes gray by the weights of ITU-R BT.601, and of an
    animation the first frame is taken.

    Args:
      data: The bytes of the file.
      channels: 1 (gray), 3 (RGB) or 4 (RGBA).

    Raises:
      DataError: the data is empty, truncated, corrupt, no image, or larger than 64 million pixels, or than 8 million
        of which it holds less than a byte for 1000, which is found before any pixel is decoded.
      ValueError: `channels` is not 1, 3 or 4.
    """
    if channels not in _MODES:
        raise ValueError(f"channels must be 1, 3 or 4, not {channels}.")
    if not data:
        raise DataError("the image is empty (0 bytes)")
    if len(data) > MAX_ENCODED_BYTES:
        raise DataError(f"the encoded image has {len(data):,} bytes; the limit is {MAX_ENCODED_BYTES:,}")
    with _open(data) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(f"the image has {width} x {height} pixels; the limit is {MAX_PIXELS:,}")
        if width * height > max(_LARGE_PIXELS, _MOST_PIXELS_PER_BYTE * len(data)):
            raise DataError(
                f"the image has {width} x {height} pixels in {len(data):,} bytes: damaged, or made to exhaust memory"
            )
        try:
            image.load()
            pixels = _convert(_upright(image), channels)
        except (*_CORRUPT, struct.error, zlib.error) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the {image.format} image is corrupt or truncated: {error}") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _open(data: bytes) -> "Image.Image":
    Image = pillow()
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"the image is larger than the limit of {MAX_PIXELS:,} pixels: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not an image of a known format ({', '.join(FORMATS)}); it begins {data[:12]!r}") from error
    except (*_CORRUPT, struct.error, zlib.error) as error:
        raise DataError(f"the image's header is corrupt: {error}") from error


def pillow() -> Any:
    """The module `PIL.Image`, which the `vision` extra installs.

    Raises:
      DataError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("Images need Pillow: pip install 'jaxdl[vision]'.") from error
    return Image


def _upright(image: "Image.Image") -> "Image.Image":
    turns = pillow().Transpose
    methods = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        orientation = image.getexif()[0x0112]
    except (*_CORRUPT, struct.error):  # No orientation, or metadata that cannot be read: the pixels still can.
        return image
    return image.transpose(methods[orientation]) if orientation in methods else image


def _convert(image: "Image.Image", channels: int) -> np.ndarray:
    if image.mode.startswith("I"):
        gray = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        image = pillow().fromarray(gray.astype(np.uint8))
    elif image.mode == "F":
        raise DataError("the image holds 32-bit floats, whose range is unknown: convert it to 8 or 16 bits")
    if channels != 4 and (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        colours = image.convert("RGBA")
        white = pillow().new("RGBA", colours.size, "white")
        image = pillow().alpha_composite(white, colours)
    if image.mode != _MODES[channels]:
        image = image.convert(_MODES[channels])
    return np.array(image)
