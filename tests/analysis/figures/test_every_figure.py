"""What holds for every figure: it brings its numbers and their origin, says its message in words, and can be read."""

import io
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from figure_gallery import KINDS, WIDTHS, Gallery
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figures import style
from analysis.figures.files import csv_text, provenance_text

EVERY = pytest.mark.parametrize(("kind", "width"), list(itertools.product(KINDS, WIDTHS)))
SMALLEST = {"full": 8.9, "column": 6.9}  # points: what stays readable in print
NOT_DATA = ("open.", "guessing", "crossing", "not-identified", "extrapolated")
ROWS_ON_AXIS = ("influence", "held_out")  # y is the number of a row


@EVERY
def test_a_figure_has_the_width_of_its_page(drawn: Gallery, kind: str, width: style.Width) -> None:
    assert drawn[kind, width].figure.get_figwidth() == style.PAGES[width].inches
    assert drawn[kind, width].figure.get_figheight() <= 9.2  # a page


@EVERY
def test_no_text_is_too_small_for_print(drawn: Gallery, kind: str, width: style.Width) -> None:
    sizes = [text.get_fontsize() for text in words_of(drawn[kind, width].figure)]
    assert sizes and min(sizes) >= SMALLEST[width]


@EVERY
def test_no_words_overlap_and_none_are_cut_off(drawn: Gallery, kind: str, width: style.Width) -> None:
    figure = drawn[kind, width].figure
    boxes = [(text.get_text(), text.get_window_extent()) for text in words_of(figure)]
    page = figure.bbox.padded(2)
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)


@EVERY
def test_whatever_is_drawn_is_in_the_data(drawn: Gallery, kind: str, width: style.Width) -> None:
    drawing = drawn[kind, width]
    rows = numbers(pd.read_csv(io.StringIO(csv_text(drawing))))
    checked = 0
    for axes in drawing.figure.axes:
        for x, y in drawn_points(axes):
            holds = close(rows, x).any(axis=1)
            if kind not in ROWS_ON_AXIS:
                holds &= close(rows, y).any(axis=1)
            assert holds.any(), (x, y)
            checked += 1
    assert checked >= 10 or kind in ROWS_ON_AXIS


@EVERY
def test_a_figure_states_its_message_and_where_it_comes_from(
    drawn: Gallery, kind: str, width: style.Width
) -> None:
    drawing = drawn[kind, width]
    assert drawing.title and drawing.caption.endswith(".") and drawing.alt.endswith(".")
    assert not drawing.caption[0].islower() and not drawing.alt[0].islower()
    assert any(letter.isdigit() for letter in drawing.alt), drawing.alt
    facts = json.loads(provenance_text(drawing))
    assert facts["code"].keys() == {"package", "version", "commit"}
    assert "2 per multiply-add" in facts["compute_convention"]
    assert facts["num_rows"] == len(drawing.data) and facts["columns"] == list(drawing.data.columns)


@EVERY
def test_every_axis_says_what_it_shows(drawn: Gallery, kind: str, width: style.Width) -> None:
    axes = drawn[kind, width].figure.axes
    assert any(one.get_xlabel() for one in axes)
    assert all(one.get_ylabel() or kind in ROWS_ON_AXIS or not labelled(one) for one in axes)


@pytest.mark.parametrize("kind", KINDS)
def test_both_widths_show_the_same_numbers(drawn: Gallery, kind: str) -> None:
    full, column = drawn[kind, "full"], drawn[kind, "column"]
    assert csv_text(full) == csv_text(column) and full.alt == column.alt
    assert column.name == f"{full.name}_column"


@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_has_one_colour_in_all_figures(drawn: Gallery, kind: str) -> None:
    for artist in drawn[kind, "full"].figure.findobj(Line2D):
        for name, colour in (("superclass", "#0072B2"), ("clip", "#D55E00")):
            if f".{name}" in (artist.get_gid() or "") and kind not in ("isoflop", "collapse"):  # shades of it
                assert colour in (
                    artist.get_color(),
                    artist.get_markerfacecolor(),
                    artist.get_markeredgecolor(),
                )


def words_of(figure: Figure) -> list[Text]:
    """Every text that is drawn; minor ticks have none, and major ones none outside the axes."""
    figure.draw_without_rendering()
    ticks = [tick for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in every_tick(axis)]
    of_ticks = {label for tick in ticks for label in (tick.label1, tick.label2)}
    shown = [text for text in figure.findobj(Text) if text not in of_ticks]
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        margin = 1e-6 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            shown += [tick.label1] if low - margin <= tick.get_loc() <= high + margin else []
    return [text for text in shown if text.get_text().strip() and text.get_visible()]


def every_tick(axis: Axis) -> list[Tick]:
    return [*axis.majorTicks, *axis.minorTicks]


def numbers(data: pd.DataFrame) -> np.ndarray:
    return data.select_dtypes("number").to_numpy(dtype=float)


def close(rows: np.ndarray, value: float) -> np.ndarray:
    return np.isclose(rows, value, rtol=1e-9, atol=1e-12)


def drawn_points(axes: Axes) -> list[tuple[float, float]]:
    """Points of everything in the axes that is marked as data; limits of open bands are left out."""
    found: list[tuple[float, float]] = []
    for line in axes.lines:
        if is_data(line.get_gid()) and line.get_transform() == axes.transData:
            found += [(float(x), float(y)) for x, y in line.get_xydata()]
    for band in axes.collections:
        if isinstance(band, PolyCollection) and is_data(band.get_gid()):
            found += [
                (float(x), float(y))
                for path in band.get_paths()
                for x, y in path.vertices
                if 1e-8 < abs(y) < 1e8
            ]
    return [(x, y) for x, y in found if np.isfinite(x) and np.isfinite(y)]


def is_data(gid: str | None) -> bool:
    return bool(gid) and not str(gid).startswith(NOT_DATA)


def labelled(axes: Axes) -> bool:
    return any(label.get_visible() and label.get_text() for label in axes.get_yticklabels())
