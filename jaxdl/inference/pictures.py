"""Pictures of what a model looks at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.errors import ConfigError

_CELL = 24
_MARGIN = 8


def heat_map(weights: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Any:
    """A Pillow image of weights (R, C) in [0, 1], black to white, with a label at each row and column.

    Raises:
      ConfigError: Pillow is not installed.
      ValueError: there are not as many labels as rows and columns.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ConfigError("Pictures need Pillow: pip install 'jaxdl[vision]'.") from error
    if weights.shape != (len(rows), len(columns)):
        raise ValueError(f"Weights {weights.shape} need as many labels, not {len(rows)} and {len(columns)}.")
    font = ImageFont.load_default(13)
    left, top = (max([int(font.getlength(word)) for word in words] or [0]) + 2 * _MARGIN for words in (rows, columns))
    levels = (np.clip(weights, 0, 1) * 255).round().astype(np.uint8)
    cells = Image.fromarray(levels).resize((len(columns) * _CELL, len(rows) * _CELL), Image.Resampling.NEAREST)
    picture = Image.new("L", (left + cells.width, top + cells.height), 255)
    picture.paste(cells, (left, top))
    draw = ImageDraw.Draw(picture)
    for number, word in enumerate(rows):
        place = (left - _MARGIN, top + (number + 0.5) * _CELL)
        draw.text(place, word, fill=0, font=font, anchor="rm")
    for number, word in enumerate(columns):
        turned = Image.new("L", (top, _CELL), 255)
        ImageDraw.Draw(turned).text((_MARGIN, _CELL / 2), word, fill=0, font=font, anchor="lm")
        picture.paste(turned.rotate(90, expand=True), (left + number * _CELL, 0))
    return picture
