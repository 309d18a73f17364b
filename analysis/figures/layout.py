"""Small panels on a page, and what several kinds of panel share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import lettering, style
from analysis.figures.labels import Label

REFERENCE: style.Look = {"color": style.GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1.8}
"""How reference lines look: ratio 1, difference 0, predicted = measured."""


def panel_figure(
    page: style.Page, count: int, *, most: int = 2, most_in_column: int = 1, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels row by row, at most `most` side by side, `most_in_column` on a narrow page."""
    columns = max(min(count, most if page.panel_columns > 1 else most_in_column), 1)
    rows = max(-(-count // columns), 1)
    figure = style.new_figure(page.inches, page.panel_height(columns, rows) * rows)
    found: list[Axes] = []
    for index in range(count):
        found.append(
            figure.add_subplot(rows, columns, index + 1, sharey=found[0] if share_y and found else None)
        )
    return figure, found


def num_columns(axes: Axes) -> int:
    """How many panels stand side by side in the figure of a panel."""
    place = axes.get_subplotspec()
    return 1 if place is None else int(place.get_gridspec().ncols)


def is_first_column(axes: Axes) -> bool:
    """Whether a panel stands at the left edge of its figure."""
    place = axes.get_subplotspec()
    return place is None or place.is_first_col()


def is_lowest(axes: Axes) -> bool:
    """Whether no panel stands below this one."""
    place = axes.get_subplotspec()
    grid = place.get_gridspec() if place is not None else None
    return grid is None or place is None or place.num1 + grid.ncols >= len(axes.figure.axes)


def hide_inner_labels(panels: list[Axes], *, below: bool = True) -> None:
    """In a grid of panels with shared axes: y labels at the left edge only and, if `below`, x labels at the bottom."""
    for axes in panels:
        if not is_first_column(axes):
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if below and not is_lowest(axes):
            axes.set_xlabel("")


def compute_axis(axes: Axes, page: style.Page, *, columns: int = 1) -> None:
    """Round labelled ticks and the convention on a logarithmic compute axis, limits as they are."""
    axes.set_xlabel(lettering.flops_label(page) if columns == 1 else "training FLOPs")
    style.label_log_axis(axes, "x", scientific=True, most=max(page.most_ticks // columns, 3))


def reference_label(axes: Axes, text: str, height: float) -> Label:
    """Words for a horizontal reference line, anywhere along it."""
    low, high = axes.get_xlim()
    logarithmic = axes.get_xscale() == "log"
    ends = (np.log(low), np.log(high)) if logarithmic else (low, high)
    places = [ends[0] + share * (ends[1] - ends[0]) for share in (0.06, 0.94, 0.5, 0.25, 0.75)]
    anchors = [(float(np.exp(place) if logarithmic else place), height) for place in places]
    return Label(text=text, anchors=anchors, colour=style.GREY)


def empty_panel(axes: Axes, text: str, page: style.Page) -> None:
    """Axes that say why they hold nothing."""
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.grid(False)
    words = lettering.wrapped(text, page, share=0.7 / max(page.panel_columns, 1))
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=style.GREY)
