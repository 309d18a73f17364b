"""The one panel of a figure that compares two objectives along compute, or why there is nothing to draw in it."""

from __future__ import annotations

from typing import Protocol

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparison.compare import Comparison
from analysis.figures import key, style
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import empty_panel, panel_figure


class Draws(Protocol):
    """Draws the data of a comparison; the labels that want a place."""

    def __call__(
        self, axes: Axes, comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
    ) -> list[Label]: ...


class Explains(Protocol):
    """What the key says of what was drawn."""

    def __call__(
        self, comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
    ) -> list[key.Entry]: ...


def comparison_panel(
    comparison: Comparison,
    data: pd.DataFrame,
    looks: style.Looks,
    page: style.Page,
    draw: Draws,
    explain: Explains,
) -> Figure:
    """The figure, with its key and its labels placed."""
    with style.house_style(page):
        figure, (axes,) = panel_figure(page, 1)
        labels: list[Label] = []
        if data.empty:
            text = f"{comparison.studied} and {comparison.rival} cannot be compared: {comparison.reason}"
            empty_panel(axes, text, page)
        else:
            labels = draw(axes, comparison, data, looks, page)
            key.add_key(figure, page, [explain(comparison, data, looks, page)])
        place_labels(figure, {axes: labels})
    return figure
