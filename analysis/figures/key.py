"""The key above the axes: what shapes and shades mean, where words beside each would cover the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle

from analysis.figures import style

_SAMPLE = 1.7  # width of a sample of ink, in sizes of the type
_SAMPLE_SPACE, _ENTRY_SPACE, _ROW_SPACE = 0.45, 1.2, 0.45  # likewise: between sample and words, entries, rows
_MARGIN = 0.98  # of the width of the page


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A sample of ink, drawn in a box of _SAMPLE x 1 type sizes, and what it means."""

    artist: Artist
    text: str


def tower_entries(looks: style.Looks, page: style.Page, towers: Sequence[str]) -> list[Entry]:
    """The marker of every tower, in the order of their sizes."""
    return [
        Entry(artist=_dot(marker, page, filled=True), text=tower)
        for tower, marker in looks.markers.items()
        if tower in towers
    ]


def dot_entry(page: style.Page, text: str, *, filled: bool, colour: str = style.GREY) -> Entry:
    """A filled or hollow marker."""
    return Entry(artist=_dot("o", page, filled=filled, colour=colour), text=text)


def ring_entry(page: style.Page, text: str) -> Entry:
    """The ring of raw Pareto points."""
    ring = _dot("o", page, filled=False)
    ring.set(markersize=page.marker * 1.6, markeredgewidth=0.6, markerfacecolor="none")
    return Entry(artist=ring, text=text)


def band_entry(
    page: style.Page, alpha: float, text: str, *, hatch: str | None = None, colour: str = style.GREY
) -> Entry:
    """A shade of a band or of a region."""
    box = Rectangle((0, 0.1 * page.ticks), _SAMPLE * page.ticks, 0.8 * page.ticks, linewidth=0, hatch=hatch)
    box.set(facecolor=colour, edgecolor=colour, alpha=alpha)
    return Entry(artist=box, text=text)


def line_entry(
    page: style.Page,
    text: str,
    *,
    dashes: tuple[float, ...] = (),
    width: float = 1.0,
    colour: str = style.GREY,
) -> Entry:
    """A line, solid or dashed."""
    line = Line2D([0, _SAMPLE * page.ticks], [page.ticks / 2] * 2, color=colour)
    line.set(linewidth=page.line * width, linestyle=(0, dashes) if dashes else "-")
    return Entry(artist=line, text=text)


def add_key(figure: Figure, page: style.Page, groups: Sequence[Sequence[Entry]]) -> None:
    """Write the key above all axes and make the figure as much taller; every group starts a row and flows on."""
    rows = [row for group in groups for row in _rows(figure, group, page)]
    if not rows:
        return
    points = len(rows) * (1 + _ROW_SPACE) * page.ticks + 0.6 * page.ticks
    height = float(figure.get_figheight())
    figure.set_figheight(height + points / 72)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "style.new_figure lays out"
    engine.set(rect=(0, 0, 1, height / (height + points / 72)))
    packed: list[Artist] = [
        HPacker(
            children=[_packed(entry, page) for entry in row],
            sep=_ENTRY_SPACE * page.ticks,
            pad=0,
            align="center",
        )
        for row in rows
    ]
    box = AnchoredOffsetbox(
        loc="upper left",
        child=VPacker(children=packed, sep=_ROW_SPACE * page.ticks, pad=0, align="left"),
        frameon=False,
        bbox_to_anchor=(0.005, 1.0),
        bbox_transform=figure.transFigure,
        borderpad=0.2,
        pad=0,
    )
    figure.add_artist(box)


def _packed(entry: Entry, page: style.Page) -> HPacker:
    area = DrawingArea(_SAMPLE * page.ticks, page.ticks, 0, 0)
    area.add_artist(entry.artist)
    words = TextArea(entry.text, textprops={"fontsize": page.ticks, "color": style.INK})
    return HPacker(children=[area, words], sep=_SAMPLE_SPACE * page.ticks, pad=0, align="center")


def _rows(figure: Figure, entries: Sequence[Entry], page: style.Page) -> list[list[Entry]]:
    """The entries broken into rows no wider than the page."""
    rows: list[list[Entry]] = []
    used, most = 0.0, _MARGIN * page.inches * 72
    for entry in entries:
        width = _width(figure, entry.text, page) + (_SAMPLE + _SAMPLE_SPACE + _ENTRY_SPACE) * page.ticks
        if not rows or used + width > most:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += width
    return rows


def _width(figure: Figure, text: str, page: style.Page) -> float:
    """Width of a text in points."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    pixels = renderer.get_text_width_height_descent(text, FontProperties(size=page.ticks), False)[0]
    return float(pixels) * 72 / figure.dpi


def _dot(marker: str, page: style.Page, *, filled: bool, colour: str = style.GREY) -> Line2D:
    size = page.marker * style.marker_scale(marker)
    dot = Line2D(
        [_SAMPLE * page.ticks / 2], [page.ticks / 2], linestyle="none", marker=marker, markersize=size
    )
    dot.set(markerfacecolor=colour if filled else "white", markeredgecolor="white" if filled else colour)
    dot.set_markeredgewidth(0.6 if filled else 1.1)
    return dot
