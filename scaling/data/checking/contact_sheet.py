"""Example images with their captions on one picture, to look at before a run of a week."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from scaling.data.checking.check_shard import Example

SIDE = 160  # pixels of an image at most
MARGIN = 6
LINES, LINE_PIXELS, LETTERS = 3, 13, 26  # of a caption
PER_ROW = 6


def write_contact_sheet(path: Path, examples: Sequence[Example]) -> None:
    """Write the examples as one PNG, six in a row, a cross where an image does not decode."""
    if not examples:
        raise ValueError(f"{path}: there is not one example to show, the data set is empty or unreadable.")
    rows = -(-len(examples) // PER_ROW)
    cell = SIDE + 2 * MARGIN, SIDE + 3 * MARGIN + LINES * LINE_PIXELS
    sheet = Image.new("RGB", (min(len(examples), PER_ROW) * cell[0], rows * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for number, example in enumerate(examples):
        left, top = number % PER_ROW * cell[0] + MARGIN, number // PER_ROW * cell[1] + MARGIN
        _paste(sheet, draw, example.image, left, top)
        lines = textwrap.wrap(example.caption[: LINES * LETTERS], LETTERS)[:LINES]
        draw.multiline_text((left, top + SIDE + MARGIN), "\n".join(lines), "black", font=font, spacing=1)
    sheet.save(path, "PNG")


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, image: bytes, left: int, top: int) -> None:
    try:
        with Image.open(io.BytesIO(image)) as picture:
            thumbnail = picture.convert("RGB")
            thumbnail.thumbnail((SIDE, SIDE))
            sheet.paste(thumbnail, (left, top))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        draw.line((left, top, left + SIDE, top + SIDE), "red", 2)
        draw.line((left + SIDE, top, left, top + SIDE), "red", 2)
