"""Drawings, tables and sentences of this package in a notebook, every picture with its message in words below it."""

from __future__ import annotations

import base64
import html
import importlib
import io
import textwrap
from collections.abc import Collection, Sequence

from PIL import Image

from analysis.figures.drawing import Drawing
from analysis.report.blocks import (
    Block,
    Cell,
    Column,
    Commands,
    Figure,
    Finding,
    Folded,
    Paragraph,
    Points,
    Table,
    text_column,
    words,
)

DOTS_PER_INCH = 120  # of a picture: 830 pixels at full width, readable on a screen and small in a file
COLOURS = 64  # of a picture: a third of the bytes of all colours, and no difference to the eye
WIDTH = 110  # characters of a line of text
MOST_COLUMNS = 10  # of a table that stands; a wider one lies on its side, a column per row


def show(*shown: Drawing | Block) -> None:
    """Displays each in turn: a picture with its text alternative, a table, or sentences."""
    for one in shown:
        if isinstance(one, Drawing):
            _show_drawing(one)
        elif isinstance(one, Figure):
            _show_drawing(one.wide)
        elif isinstance(one, Table):
            table = lying(one) if len(one.columns) > MOST_COLUMNS else one
            _display({"text/html": html_table(table), "text/plain": plain_table(table)})
        elif isinstance(one, Folded):
            show(*one.blocks)
        else:
            say(*sentences(one))


def say(*told: str) -> None:
    """Displays sentences below each other, in lines of at most WIDTH characters; nothing where there are none."""
    lines = [textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in told]
    if lines:
        _display({"text/plain": "\n".join(lines)})


def sentences(block: Paragraph | Points | Finding | Commands) -> tuple[str, ...]:
    """What a block of a report says."""
    if isinstance(block, Paragraph):
        return (block.text,)
    if isinstance(block, Finding):
        return (f"{block.lead}: {block.text}",)
    if isinstance(block, Points):
        return (*filter(None, [block.lead]), *(f"- {item}" for item in block.items))
    return block.lines


def table_of(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Collection[str] = ()
) -> Table:
    """A table of texts; the first column and those named in `texts` are words, the others numbers."""
    columns = [Column(name=name, is_text=index == 0 or name in texts) for index, name in enumerate(headings)]
    return Table(caption=caption, columns=tuple(columns), rows=tuple(tuple(map(words, row)) for row in rows))


def lying(table: Table) -> Table:
    """The table on its side: a row per column, headed by the first two cells of each row."""
    heads = [", ".join(cell.text for cell in row[:2]) for row in table.rows]
    rows = [
        (words(_heading(column)), *(Cell(text=row[index].text) for row in table.rows))
        for index, column in enumerate(table.columns)
        if index > 1
    ]
    columns = (text_column(""), *(Column(name=head) for head in heads))
    return Table(caption=table.caption, columns=columns, rows=tuple(rows), note=table.note)


def png_picture(drawing: Drawing) -> bytes:
    """The figure as a small PNG, the same bytes for the same drawing."""
    buffer, small = io.BytesIO(), io.BytesIO()
    drawing.figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    with Image.open(buffer) as picture:
        palette = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


def html_table(table: Table) -> str:
    """The table as HTML: caption, headings by group, words left and numbers right, the note below."""
    styles = [f'style="text-align: {"left" if column.is_text else "right"}"' for column in table.columns]
    heads = "".join(
        f'<th scope="col" {style}>{html.escape(_heading(column))}</th>'
        for column, style in zip(table.columns, styles, strict=True)
    )
    rows = [
        "".join(f"<td {style}>{html.escape(cell.text)}</td>" for cell, style in zip(row, styles, strict=True))
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
    picture = base64.b64encode(png_picture(drawing)).decode()
    _display({"image/png": picture, "text/plain": alt}, {"image/png": {"alt": alt}})
    say(alt)


def _display(data: dict[str, str], metadata: dict[str, dict[str, str]] | None = None) -> None:
    """Through IPython, which every notebook has and nothing else here needs."""
    importlib.import_module("IPython.display").display(data, metadata=metadata, raw=True)
