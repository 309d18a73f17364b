"""What happens inside one pair of axes: runs, laws, runs without a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.filters import FAILED_STATUSES
from analysis.old_study import MetricStudy, ObjectiveLaw

CURVE_POINTS = 200
EDGES = {
    "failed": 0.965,
    "not finished": 0.035,
}  # height of the markers of runs without a score, share of the axes
NEAR_GUESSING = 1.15  # the error of guessing is drawn if it is within this factor of the largest error
MARKER_SIZE = 7.5  # points


def law_curve(law: ObjectiveLaw) -> pd.DataFrame | None:
    """train_flops, error, lower, upper of the fitted law over the range of its points; None without a law."""
    if law.fit.law is None:
        return None
    compute = np.geomspace(law.points["train_flops"].min(), law.points["train_flops"].max(), CURVE_POINTS)
    band = law.bootstrap.band(compute) if law.bootstrap else None
    lower, upper = band if band else (np.nan, np.nan)
    return pd.DataFrame(
        {"train_flops": compute, "error": law.fit.law.predict(compute), "lower": lower, "upper": upper}
    )


def draw_errors(axes: Axes, study: MetricStudy, laws: Sequence[ObjectiveLaw]) -> None:
    """Errors of some objectives against training FLOPs, both axes logarithmic, each with its law and band."""
    colours, markers = style.objective_colours(list(study.laws)), style.tower_markers(study.table)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for law in laws:
        _draw_law(axes, law, colours[law.objective])
        draw_runs(axes, law.points, "error", colours[law.objective], markers)
    scored = pd.concat([law.points for law in laws]) if laws else study.selection.points
    waiting = (
        study.waiting[study.waiting["objective"].isin([law.objective for law in laws])]
        if laws
        else study.waiting
    )
    guessing = _guessing_in_view(scored)
    _set_limits(axes, scored, waiting, guessing)
    if guessing:
        axes.axhline(guessing[0], color="#777777", linestyle=(0, (4, 3)), linewidth=1)
        note = axes.text(
            1, guessing[0], "guessing", transform=axes.get_yaxis_transform(), ha="right", va="bottom"
        )
        note.set(fontsize=9, color="#444444")
    _draw_waiting(axes, waiting, colours, markers)
    if scored.empty:
        text = "no finished run has this metric yet"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#444444")


def draw_scores(axes: Axes, table: pd.DataFrame, metrics: Sequence[str], objectives: Sequence[str]) -> None:
    """Scores (higher is better) of related tasks against training FLOPs; dashed: chance, where defined."""
    colours, markers = style.objective_colours(objectives), style.tower_markers(table)
    axes.set_xscale("log")
    for metric in metrics:
        runs = table.dropna(subset=[metric, "train_flops"])
        for objective, of_objective in runs.groupby("objective"):
            draw_runs(axes, of_objective, metric, colours[str(objective)], markers)
        chance = f"{metric.partition('.')[0]}.chance"
        if chance in table and metric.endswith(".top1"):
            axes.axhline(float(table[chance].min()), color="#777777", linestyle=(0, (4, 3)), linewidth=1)
    compute = table.dropna(subset=list(metrics), how="all")["train_flops"].dropna()
    axes.set_xlim(*style.padded_log_limits(list(compute), least_factor=10))
    axes.set_ylim(bottom=0)
    style.label_log_axis(axes, "x", scientific=True)


def draw_runs(axes: Axes, runs: pd.DataFrame, column: str, colour: str, markers: Mapping[str, str]) -> None:
    """One marker per run; a thin line joins the samples_seen of one tower (mean of its seeds)."""
    for tower, of_tower in runs.groupby("image_tower"):
        mean = of_tower.groupby("samples_seen")[["train_flops", column]].mean()
        axes.plot(mean["train_flops"], mean[column], color=colour, linewidth=0.8, alpha=0.6, zorder=2)
        marker = markers[str(tower)]
        axes.plot(
            of_tower["train_flops"],
            of_tower[column],
            linestyle="none",
            marker=marker,
            markersize=MARKER_SIZE * style.marker_scale(marker),
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.9,
            zorder=4,
        )


def _draw_law(axes: Axes, law: ObjectiveLaw, colour: str) -> None:
    curve = law_curve(law)
    if curve is None:
        return
    compute = curve["train_flops"]
    axes.plot(compute, curve["error"], color=colour, linewidth=2.2, zorder=3)
    if curve["lower"].notna().all():
        axes.fill_between(
            compute, curve["lower"], curve["upper"], color=colour, alpha=style.BAND_ALPHA, linewidth=0
        )


def _guessing_in_view(scored: pd.DataFrame) -> list[float]:
    """The error of guessing, if all runs share one and some run comes near it; else nothing."""
    levels = scored["guessing_error"].dropna().unique()
    near = len(levels) == 1 and levels[0] < NEAR_GUESSING * scored["error"].max()
    return [float(levels[0])] if near else []


def _set_limits(axes: Axes, scored: pd.DataFrame, waiting: pd.DataFrame, guessing: Sequence[float]) -> None:
    compute = [*scored["train_flops"].dropna(), *waiting["planned_train_flops"].dropna()]
    axes.set_xlim(*style.padded_log_limits(compute, least_factor=10))
    failed = waiting["status"].isin(FAILED_STATUSES)
    low, high = 0.14 if (~failed).any() else 0.08, 0.14 if failed.any() else 0.08
    axes.set_ylim(
        *style.padded_log_limits([*scored["error"], *guessing], low=low, high=high, least_factor=1.15)
    )
    style.label_log_axis(axes, "x", scientific=True)
    style.label_log_axis(axes, "y", scientific=False)
    if not compute:
        axes.set_xticks([])
    if scored.empty:
        axes.set_yticks([])


def _draw_waiting(
    axes: Axes, waiting: pd.DataFrame, colours: Mapping[str, str], markers: Mapping[str, str]
) -> None:
    """Runs without a score, hollow, at their planned compute: failed at the top, others at the bottom."""
    failed = waiting["status"].isin(FAILED_STATUSES)
    for (label, height), of_label in zip(EDGES.items(), (failed, ~failed), strict=True):
        runs = waiting[of_label].dropna(subset=["planned_train_flops"]).sort_values("planned_train_flops")
        if runs.empty:
            continue
        for run in runs.to_dict("records"):
            marker = markers[str(run["image_tower"])]
            axes.plot(
                run["planned_train_flops"],
                height,
                transform=axes.get_xaxis_transform(),
                marker=marker,
                markersize=MARKER_SIZE * style.marker_scale(marker),
                color="white",
                markeredgecolor=colours[str(run["objective"])],
                markeredgewidth=1.4,
                zorder=5,
            )
        _label_edge(axes, label, height, list(runs["planned_train_flops"]))


def _label_edge(axes: Axes, label: str, height: float, compute: Sequence[float]) -> None:
    """The word beside a row of hollow markers, on the side where the axes leave room."""
    low, high = np.log(axes.get_xlim())
    left = (np.log(compute[0]) - low) > (high - np.log(compute[-1]))
    place, shift, side = (compute[0], -9, "right") if left else (compute[-1], 9, "left")
    axes.annotate(
        label,
        (place, height),
        xycoords=axes.get_xaxis_transform(),
        xytext=(shift, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=9,
        color="#444444",
    )
