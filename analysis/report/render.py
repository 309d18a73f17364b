"""Sections as one HTML page that refers to nothing outside itself."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from analysis.figures import files
from analysis.figures.drawing import Drawing
from analysis.report.blocks import Section

TEMPLATES = Path(__file__).parent / "templates"
_REFERENCE = re.compile(r'href="#([^"]+)"|url\(#([^)]+)\)')
_IDENTIFIER = re.compile(r'\sid="([^"]*)"')
_PATH = re.compile(r'\sd="([^"]*)"')
_DIGITS = re.compile(r"(-?\d+\.\d{2})\d+")


def render_page(
    sections: Sequence[Section], *, title: str, kicker: str, question: str, facts: Sequence[str]
) -> str:
    """The page: head, contents, sections; the same text for the same sections.

    The policy of the page forbids any request, and any script but the one that sorts tables.
    """
    script = Markup((TEMPLATES / "tables.js").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbers = itertools.count(1)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(next_figure=lambda: next(numbers), svg=_inline, csv=_csv_address)
    return environment.get_template("report.html").render(
        sections=sections,
        title=title,
        kicker=kicker,
        question=question,
        facts=facts,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )


def drawings(sections: Sequence[Section]) -> Iterator[Drawing]:
    """Every drawing of the page at both widths, in order."""
    for section in sections:
        for figure in section.figures:
            yield figure.wide
            yield figure.narrow


def _inline(drawing: Drawing, place: str) -> Markup:
    """The drawing as part of the page; `place` keeps the identifiers that it uses apart from those of every other."""
    svg = files.inline_svg(files.svg_text(drawing.figure), place, drawing.alt or drawing.title)
    used = {name for pair in _REFERENCE.findall(svg) for name in pair}
    svg = _IDENTIFIER.sub(lambda found: found[0] if found[1] in used else "", svg)
    return Markup(_PATH.sub(_rounded, svg))


def _rounded(path: re.Match[str]) -> str:
    """A path with its coordinates to a hundredth of a point on one line: a page a fifth smaller, no pixel different."""
    return f' d="{" ".join(_DIGITS.sub(lambda number: number[1], path[1]).split())}"'


def _csv_address(drawing: Drawing) -> str:
    body = base64.b64encode(drawing.data.to_csv(index=False, lineterminator="\n").encode()).decode()
    return f"data:text/csv;base64,{body}"
