"""Drawings, tables and sentences of this package in a notebook, every picture with its message in words below it."""

from __future__ import annotations

import base64
import html
import importlib
import io
import textwrap
from collections.abc import Iterable, Sequence

from PIL import Image

from analysis.figures.drawing import Drawing
from analysis.report.blocks import Block, Column, Commands, Figure, Finding, Folded, Paragraph, Points, Table

DOTS_PER_INCH = 120  # of a picture: 830 pixels at full width, readable on a screen and small in a file
COLOURS = 64  # of a picture; a tenth of the size of all colours, and no difference to the eye
WIDTH = 110  # characters of a line of text


def show(*shown: Drawing | Block | Sequence[str]) -> None:
    """Displays each in turn: a picture with its text alternative, a table, sentences one below the other."""
    for one in shown:
        if isinstance(one, Drawing):
            _show_drawing(one)
        elif isinstance(one, Figure):
            _show_drawing(one.wide)
        elif isinstance(one, Table):
            _show_table(one)
        elif isinstance(one, Folded):
            show(*one.blocks)
        else:
            say(*sentences(one))


def say(*told: str) -> None:
    """Prints sentences as paragraphs of at most WIDTH characters a line."""
    for text in told:
        print(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def sentences(block: Paragraph | Points | Finding | Commands | Sequence[str]) -> Iterable[str]:
    """What a block of a report says."""
    if isinstance(block, Paragraph):
        return (block.text,)
    if isinstance(block, Finding):
        return (f"{block.lead}: {block.text}",)
    if isinstance(block, Points):
        return (*filter(None, [block.lead]), *(f"- {item}" for item in block.items))
    return block.lines if isinstance(block, Commands) else tuple(block)


def png_picture(drawing: Drawing) -> bytes:
    """The figure as a small PNG, the same bytes for the same drawing."""
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    with Image.open(buffer) as picture:
        palette = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small = io.BytesIO()
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


def html_table(table: Table) -> str:
    """The table as HTML: caption, headings by group, numbers aligned right, the note below."""
    heads = "".join(f'<th scope="col">{html.escape(_heading(column))}</th>' for column in table.columns)
    sides = ["left" if column.is_text else "right" for column in table.columns]
    rows = [
        "".join(
            f'<td style="text-align: {side}">{html.escape(cell.text)}</td>'
            for cell, side in zip(row, sides, strict=True)
        )
        for row in table.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    caption = f'<caption style="text-align: left">{html.escape(table.caption)}</caption>'
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return f"<table>{caption}\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>\n{note}"


def plain_table(table: Table) -> str:
    """The table as aligned text."""
    lines = [
        [_heading(column) for column in table.columns],
        *([cell.text for cell in row] for row in table.rows),
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _heading(column: Column) -> str:
    return f"{column.group}: {column.name}" if column.group else column.name


def _show_drawing(drawing: Drawing) -> None:
    alt = drawing.alt or drawing.title
    data = {"image/png": base64.b64encode(png_picture(drawing)).decode(), "text/plain": alt}
    _display(data, metadata={"image/png": {"alt": alt}}, raw=True)
    say(alt)


def _show_table(table: Table) -> None:
    _display({"text/html": html_table(table), "text/plain": plain_table(table)}, raw=True)


def _display(data: dict[str, str], **options: object) -> None:
    """Through IPython, which a notebook has and this package does not need otherwise."""
    importlib.import_module("IPython.display").display(data, **options)
