"""Influence: how far a number would move without each cell, or each run, of the study."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.layout import REFERENCE, empty_panel
from analysis.figures.provenance import provenance

MOST = 12  # cells shown, the most influential ones
ROW = 2.1  # height of a cell, in sizes of the type
COLUMNS = ["run_id", "cluster", "leverage", "change_without_run", "change_without_cluster"]


def influence_bars(
    changes: pd.DataFrame,
    objective: str,
    quantity: str,
    looks: style.Looks,
    *,
    estimate: float,
    unit: str = "",
    width: style.Width = "full",
) -> Drawing:
    """A bar per cell, the change of `quantity` without it, and a dot per run (rows of intervals.influence)."""
    page, colour = style.PAGES[width], looks.colours[objective]
    told = changes.dropna(subset=["change_without_cluster"])
    clusters = told.groupby("cluster")["change_without_cluster"].first()
    shown = clusters.reindex(clusters.abs().sort_values(ascending=False, kind="stable").index[:MOST])
    with style.house_style(page):
        height = (max(len(shown), 3) + 3) * ROW * page.text / 72
        figure = style.new_figure(page.inches, height)
        axes = figure.add_subplot()
        if len(shown):
            _draw(axes, shown, changes, colour, page)
            axes.set_xlabel(f"change of {quantity}{f' ({unit})' if unit else ''}")
            key.add_key(figure, page, [_entries(page, colour)])
        else:
            empty_panel(axes, f"{objective}: no cell can be left out", page)
        figure.draw_without_rendering()
    message = _message(objective, quantity, estimate, clusters, changes)
    return Drawing(
        name=file_name(f"influence_{objective}_{_slug(quantity)}", width),
        title=f"Influence of single cells on {quantity}, {objective}",
        caption=f"Exact refits without each cell (bar) and each run (dot). {message}",
        alt=message,
        figure=figure,
        data=changes[COLUMNS],
        provenance=provenance(objective=objective, quantity=quantity, unit=unit, estimate=estimate),
    )


def _draw(axes: Axes, shown: pd.Series[float], changes: pd.DataFrame, colour: str, page: style.Page) -> None:
    place = np.arange(len(shown))
    axes.barh(place, shown, height=0.55, color=colour, alpha=0.35, zorder=2)
    for row, cluster in enumerate(shown.index):
        runs = changes.loc[changes["cluster"] == cluster, "change_without_run"].dropna()
        axes.plot(
            runs,
            np.full(len(runs), row),
            "o",
            color=colour,
            markersize=page.marker * 0.8,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=3,
            gid=f"run.{row}",
        )
    axes.axvline(0.0, **REFERENCE)
    axes.set_yticks(place, [str(name) for name in shown.index])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)


def _entries(page: style.Page, colour: str) -> list[key.Entry]:
    return [
        key.band_entry(page, 0.35, "without the cell", colour=colour),
        key.dot_entry(page, "without one run", filled=True, colour=colour),
    ]


def _message(
    objective: str, quantity: str, estimate: float, clusters: pd.Series[float], changes: pd.DataFrame
) -> str:
    parts = [f"with all runs of {objective}, {quantity} is {words.number(estimate)}"]
    if len(clusters):
        name = str(clusters.abs().idxmax())
        parts.append(
            f"of {words.counted(len(clusters), 'cell')}, leaving out {name} changes it most, by "
            f"{words.number(float(clusters[name]))}"
        )
    needed = sorted(set(changes.loc[changes["change_without_cluster"].isna(), "cluster"].astype(str)))
    if needed:
        parts.append(f"without {words.listed(needed)} the rest does not determine a law")
    return " ".join(words.sentence(part) for part in parts)


def _slug(quantity: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in quantity).strip("_").lower()
