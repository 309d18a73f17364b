"""A drawing as files: PDF, SVG and PNG for readers, CSV and JSON for whoever wants to check them."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.figures.drawing import Drawing
from scaling.records import WriteError

PIXELS_PER_POINT = 1.65  # a figure of the full text width is 820 pixels wide on a page
DOTS_PER_INCH = 300  # of PNG files: what journals ask of line art at print size
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def save_drawing(drawing: Drawing, folder: Path) -> tuple[Path, ...]:
    """The five files written, folder/name.{pdf,svg,png,csv,json}, the same bytes for the same drawing.

    All are written aside first and then renamed, the JSON last: it holds the digests of the other four, so that a
    reader can tell a whole set.  WriteError names what could not be written; nothing half-written is left.
    """
    contents = {"pdf": pdf_bytes(drawing.figure), "svg": svg_text(drawing.figure).encode()}
    contents |= {"png": png_bytes(drawing.figure), "csv": csv_text(drawing).encode()}
    digests = {f"{drawing.name}.{end}": hashlib.sha256(body).hexdigest() for end, body in contents.items()}
    contents["json"] = provenance_text(drawing, digests).encode()
    target = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{drawing.name}.", dir=folder))
        try:
            for end, body in contents.items():
                target = folder / f"{drawing.name}.{end}"
                (aside / end).write_bytes(body)
            for end in contents:
                target = folder / f"{drawing.name}.{end}"
                os.replace(aside / end, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise WriteError(
            f"{target}: not written ({error.strerror or error}); choose another folder or make room."
        ) from error
    return tuple(folder / f"{drawing.name}.{end}" for end in contents)


def provenance_text(drawing: Drawing, digests: dict[str, str] | None = None) -> str:
    """The provenance of a drawing as JSON, with its words and the sha256 of its files."""
    head = {"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "alt": drawing.alt}
    rest = {"num_rows": len(drawing.data), "columns": list(drawing.data.columns), "sha256": digests or {}}
    return json.dumps({**head, **drawing.provenance, **rest}, indent=1, allow_nan=False) + "\n"


def csv_text(drawing: Drawing) -> str:
    """The numbers of a drawing; floats with all their digits."""
    return drawing.data.to_csv(index=False, lineterminator="\n")


def pdf_bytes(figure: Figure) -> bytes:
    """The figure as a PDF with embedded TrueType type and no date."""
    buffer = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
    return buffer.getvalue()


def svg_text(figure: Figure) -> str:
    """The figure as an <svg> element, text as outlines, no metadata: the same bytes for the same drawing."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def inline_svg(svg: str, name: str, label: str) -> str:
    """The element made part of an HTML page: it scales, has a text alternative and names no outside address.

    `name` prefixes every identifier, so that several figures can share the page.
    """
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, head
    body = re.sub(r'\bid="', f'id="{name}-', body).replace("xlink:href", "href")
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    width = float(box.group().split()[2]) * PIXELS_PER_POINT
    size = f'style="max-width: {width:.0f}px"'
    return f'<svg class="figure" role="img" aria-label="{html.escape(label)}" {size} {box.group()}>{body}'


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG at print resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
