"""Runs inside axes: fitted ones filled, all others hollow, sealed ones without a height."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.labels import Label

EDGES = {"failed": 0.95, "not finished": 0.05}  # heights of the runs without a score, share of the axes
SEALED = 0.14  # height of the sealed runs, clear of the unfinished ones


def draw_runs(axes: Axes, runs: pd.DataFrame, page: style.Page, looks: style.Looks) -> None:
    """Runs with an error: fitted ones filled with the samples_seen of a tower joined, left-out ones hollow."""
    scored = runs[runs["standing"].isin(("fitted", "left out"))]
    for (objective, tower), cell in scored.groupby(["objective", "image_tower"]):
        name, colour = f"{objective}.{tower}", looks.colours[str(objective)]
        fitted = cell[cell["standing"] == "fitted"].sort_values(["train_flops", "run_id"])
        mean = fitted.groupby("samples_seen")[["train_flops", "error"]].mean()
        axes.plot(mean["train_flops"], mean["error"], color=colour, linewidth=0.6, alpha=0.55, zorder=3)
        for standing, part in (("fitted", fitted), ("left-out", cell.drop(fitted.index))):
            filled = standing == "fitted"
            axes.plot(
                part["train_flops"],
                part["error"],
                **marker_of(str(tower), colour, page, looks, filled=filled),
                zorder=5,
                gid=f"{standing}.{name}",
            )


def draw_pareto(axes: Axes, runs: pd.DataFrame, page: style.Page, looks: style.Looks) -> None:
    """A ring around every raw Pareto point: shown, never fitted."""
    for objective, rows in runs[runs["pareto"]].groupby("objective"):
        rows = rows.sort_values(["train_flops", "run_id"])
        axes.plot(
            rows["train_flops"],
            rows["error"],
            linestyle="none",
            marker="o",
            markersize=page.marker * 1.6,
            markerfacecolor="none",
            markeredgecolor=looks.colours[str(objective)],
            markeredgewidth=0.6,
            zorder=4,
            gid=f"pareto.{objective}",
        )


def draw_without_score(axes: Axes, runs: pd.DataFrame, page: style.Page, looks: style.Looks) -> list[Label]:
    """Hollow markers at planned compute: failed at the top edge, unfinished at the bottom, sealed above them."""
    notes = []
    for standing, height in {**EDGES, "sealed": SEALED}.items():
        rows = runs[(runs["standing"] == standing) & runs["planned_train_flops"].notna()]
        rows = rows.sort_values(["planned_train_flops", "run_id"])
        for run in rows.to_dict("records"):
            colour, tower = looks.colours[str(run["objective"])], str(run["image_tower"])
            axes.plot(
                run["planned_train_flops"],
                height,
                transform=axes.get_xaxis_transform(),
                **marker_of(tower, colour, page, looks, filled=False),
                clip_on=False,
                zorder=6,
                gid=f"{standing.replace(' ', '-')}.{run['run_id']}",
            )
            if standing == "sealed":
                _cross(axes, run["planned_train_flops"], colour, page)
        if len(rows):
            level = height_in_data(axes, height)
            anchors = [(float(value), level) for value in (rows["planned_train_flops"].iloc[[-1, 0]])]
            notes.append(Label(text=standing, anchors=anchors, colour=style.GREY))
    return notes


def marker_of(tower: str, colour: str, page: style.Page, looks: style.Looks, *, filled: bool) -> style.Look:
    """How a marker of a tower looks, as arguments of Axes.plot."""
    marker = looks.markers[tower]
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": page.marker * style.marker_scale(marker),
        "markerfacecolor": colour if filled else "white",
        "markeredgecolor": "white" if filled else colour,
        "markeredgewidth": 0.6 if filled else 1.1,
    }


def height_in_data(axes: Axes, share: float) -> float:
    """The y value at a share of the height of the axes."""
    place = axes.transData.inverted().transform(axes.transAxes.transform((0.5, share)))
    return float(place[1])


def _cross(axes: Axes, compute: float, colour: str, page: style.Page) -> None:
    """The mark of a sealed run inside its hollow marker."""
    axes.plot(
        compute,
        SEALED,
        transform=axes.get_xaxis_transform(),
        marker="x",
        markersize=page.marker * 0.5,
        color=colour,
        markeredgewidth=0.8,
        clip_on=False,
        zorder=7,
    )


def scored_limits(runs: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Compute values (planned ones where a run has no score) and errors that the axes must show."""
    compute = runs["train_flops"].fillna(runs["planned_train_flops"]).dropna()
    return list(compute[np.isfinite(compute)]), list(runs["error"].dropna())
