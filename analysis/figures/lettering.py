"""Words in figures: readable on white, on lines that fit the page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from analysis.figures.style import FLOPS_LABEL, Page

_READABLE = 4.5  # contrast of small text on white (WCAG 2.2, 1.4.3)
_LETTER, _GAP, _LEFT_OF_FRAME = (
    0.56,
    1.2,
    5.0,
)  # in sizes of the type: a letter, marker to words, ticks and name of y


def flops_label(page: Page, panels: int = 1) -> str:
    """The label of a compute axis with its convention, on two lines where one of so many panels is too narrow."""
    return FLOPS_LABEL if page.inches / panels > 4 else FLOPS_LABEL.replace(" (", "\n(")


def wrapped(text: str, page: Page, share: float = 0.8) -> str:
    """The text on lines no longer than a share of the width of the page."""
    return textwrap.fill(text, max(int(share * page.inches * 72 / (0.56 * page.ticks)), 20))


def room_beside(texts: Sequence[str], page: Page, columns: int) -> float:
    """The share of the width of one of so many panels side by side that the longest text takes; at most a half."""
    frame = page.inches / columns - _LEFT_OF_FRAME * page.text / 72
    longest = max(map(len, texts), default=0)
    return min((longest * _LETTER + _GAP) * page.text / 72 / frame, 0.5)


def text_colour(colour: str) -> str:
    """The colour, darkened until small text in it is readable on white."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    while contrast_on_white(f"#{red:02x}{green:02x}{blue:02x}") < _READABLE:
        red, green, blue = (int(part * 0.95) for part in (red, green, blue))
    return f"#{red:02x}{green:02x}{blue:02x}"


def contrast_on_white(colour: str) -> float:
    """Contrast ratio of a colour and white (WCAG 2.2, relative luminance)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (0.05 + 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
