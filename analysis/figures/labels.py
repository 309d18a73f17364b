"""Direct labels: words beside what they name, where they cover nothing.

Positions are chosen once the layout stands, from candidates around each label's anchors: inside the axes, off other
words, off markers and lines, and close to the anchor.  The same drawing gives the same places.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.figures.style import INK

Points = npt.NDArray[np.float64]  # [n, 2]

_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 1), (-1, -1), (-1, 0))
_DISTANCES = (6.0, 10.0, 16.0, 26.0, 40.0)  # points from the anchor
_FAR = 12.0  # points; beyond it a thin line leads from the anchor to the words
_APART = 5.0  # pixels between words
_OVERHANG = 3.0  # points by which words may leave the axes above and right, where no line ends them
_EDGE = 1.0  # points that stay free at the edge of the figure
_SAMPLING = 3.0  # pixels between the points by which a line is avoided
_ON_WORDS, _ON_INK, _PER_POINT, _PER_ANCHOR = 1e4, 6.0, 0.35, 1.0  # costs


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """Words for a thing in the axes, and where that thing is."""

    text: str
    anchors: Sequence[tuple[float, float]]  # data coordinates, the preferred one first
    colour: str = INK
    weight: str = "normal"
    of_region: bool = False  # names a region, not a thing at its anchor: no line leads there


def place_labels(figure: Figure, wanted: Mapping[Axes, Sequence[Label]]) -> None:
    """Write the labels of every axes; the layout of the figure is final from here on.

    Before, a name of an axis that is longer than its axis goes on two lines.
    """
    figure.draw_without_rendering()
    if break_long_names(figure):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, labels in wanted.items():
        ink, words = _ink(axes), _words(figure, axes)
        for label in labels:
            words.append(_place(axes, label, ink, words))


def break_long_names(figure: Figure) -> bool:
    """Whether some name of an axis was longer than the axis; it now has lines that are not, as far as it has breaks."""
    broken = False
    for axes in figure.axes:
        frame = axes.get_window_extent()
        for name, side, room in (
            (axes.xaxis.label, "width", frame.width),
            (axes.yaxis.label, "height", frame.height),
        ):
            while (
                getattr(name.get_window_extent(), side) > room and _broken(name.get_text()) != name.get_text()
            ):
                name.set_text(_broken(name.get_text()))
                broken = True
    return broken


def _broken(name: str) -> str:
    """The name with a line more: what is in parentheses, or what follows its last comma."""
    if " (" in name:
        return name.replace(" (", "\n(", 1)
    head, comma, tail = name.rpartition(", ")
    return f"{head},\n{tail}" if comma else name


def _place(axes: Axes, label: Label, ink: Points, words: Sequence[Bbox]) -> Bbox:
    """Write one label at its best place; the box it covers, in pixels."""
    note = axes.annotate(
        label.text,
        label.anchors[0],
        xytext=(0, 0),
        textcoords="offset points",
        color=label.colour,
        weight=label.weight,
        ha="center",
        va="center",
        annotation_clip=False,
        zorder=6.5,
        linespacing=1.05,
    )
    note.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="white")])
    size = _box(note)
    best = min(_candidates(axes, label, size), key=lambda one: _cost(one, axes, ink, words))
    anchor, shift, box, distance = best[:4]
    note.xy = anchor
    note.set_position(shift)
    if distance > _FAR and not label.of_region:
        _lead(axes, anchor, box, label.colour)
    return box


_Candidate = tuple[tuple[float, float], tuple[float, float], Bbox, float, int]


def _candidates(axes: Axes, label: Label, size: Bbox) -> list[_Candidate]:
    """Anchor, shift of the words' centre in points, box in pixels, distance in points, rank of the anchor."""
    scale = axes.figure.dpi / 72
    half = np.asarray([size.width, size.height]) / 2 / scale
    found = []
    for rank, anchor in enumerate(label.anchors):
        place = axes.transData.transform(anchor)
        for distance in _DISTANCES:
            for direction in _DIRECTIONS:
                shift = np.asarray(direction) * (half + distance / np.hypot(*direction))
                centre = place + shift * scale
                box = Bbox([centre - half * scale, centre + half * scale])
                found.append((anchor, (float(shift[0]), float(shift[1])), box, distance, rank))
    return found


def _cost(candidate: _Candidate, axes: Axes, ink: Points, words: Sequence[Bbox]) -> float:
    _, _, box, distance, rank = candidate
    outside = max(_beyond(box, axes), 0.0)
    covered = sum(box.padded(_APART).overlaps(other) for other in words)
    inside = np.all((ink > box.padded(1.5).p0) & (ink < box.padded(1.5).p1), axis=1).sum() if len(ink) else 0
    costs = _ON_WORDS * covered + _ON_INK * inside + _PER_POINT * distance + _PER_ANCHOR * rank
    return float(costs + (_ON_WORDS + outside if outside else 0.0))


def _beyond(box: Bbox, axes: Axes) -> float:
    """Pixels by which a box leaves the room for words, at the side where it does so most; negative inside."""
    frame, page, point = axes.get_window_extent(), axes.figure.bbox, axes.figure.dpi / 72
    right = min(frame.x1 + _OVERHANG * point, page.x1 - _EDGE * point)
    top = min(frame.y1 + _OVERHANG * point, page.y1 - _EDGE * point)
    return float(max(frame.x0 - box.x0, box.x1 - right, frame.y0 - box.y0, box.y1 - top))


def _lead(axes: Axes, anchor: tuple[float, float], box: Bbox, colour: str) -> None:
    """A thin line from the anchor to the nearest edge of the words."""
    place = axes.transData.transform(anchor)
    nearest = np.clip(place, box.p0, box.p1)
    end = axes.transData.inverted().transform(nearest)
    axes.plot(
        *zip(anchor, end, strict=True), color=colour, linewidth=0.6, zorder=7, scalex=False, scaley=False
    )


def _ink(axes: Axes) -> Points:
    """Points [n, 2] in pixels on every marker and line of the axes."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        places = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))
        places = places[np.isfinite(places).all(axis=1)]
        if len(places) > 1 and line.get_linestyle() != "None":
            found += [_sampled(start, end) for start, end in zip(places[:-1], places[1:])]
        found.append(places)
    found += [group.get_offset_transform().transform(group.get_offsets()) for group in axes.collections]
    return np.concatenate([np.asarray(part, dtype=float).reshape(-1, 2) for part in found])


def _sampled(start: Points, end: Points) -> Points:
    steps = int(min(np.hypot(*(end - start)) / _SAMPLING, 2_000)) + 1
    return np.asarray(start + np.linspace(0, 1, steps)[:, None] * (end - start))


def _words(figure: Figure, axes: Axes) -> list[Bbox]:
    """Boxes of the words that stand in the axes already."""
    return [_box(text) for text in axes.texts if text.get_text() and text.get_visible()]


def _box(text: Text) -> Bbox:
    """The words alone: an annotation may reach to what it annotates."""
    return Bbox(Text.get_window_extent(text).get_points())
