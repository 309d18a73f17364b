"""Error against training compute: runs, and the frontier that the fitted surface implies, with both bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, lettering, style
from analysis.figures.curves import frontier_curve, runs_of
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.error_words import error_alt, error_caption
from analysis.figures.frontier import DASHES, MEAN_ALPHA, NEW_RUN_ALPHA, draw_frontier
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import num_columns
from analysis.figures.provenance import filter_facts, fit_facts, provenance
from analysis.figures.runs import draw_pareto, draw_runs, draw_without_score, scored_limits
from analysis.filters import error_label, is_loss
from analysis.study.study import MetricStudy

NEAR_GUESSING = 1.15  # the error of guessing is drawn if it is within this factor of the largest error
Curves = Mapping[str, pd.DataFrame | None]


def error_versus_compute(study: MetricStudy, *, width: style.Width = "full") -> Drawing:
    """Runs and frontiers of all objectives in one panel; losses of different objectives get a panel each."""
    page, names = style.PAGES[width], tuple(study.sides)
    apart = is_loss(study.metric) and len(names) > 1
    panels = [(name,) for name in names] if apart else [names]
    runs, curves = runs_of(study), _curves(study)
    columns = min(page.panel_columns, len(panels))
    with style.house_style(page):
        figure = style.new_figure(page.inches, page.panel_height(columns) * -(-len(panels) // columns))
        wanted = {}
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(-(-len(panels) // columns), columns, index + 1)
            wanted[axes] = _draw(axes, study, panel, runs, curves, page)
            if apart:
                axes.set_title(panel[0], fontweight="bold")
        key.add_key(figure, page, _entries(study, runs, curves, page))
        place_labels(figure, wanted)
    stem = study.metric.replace(".", "_").replace("_loss_loss", "_loss")
    return Drawing(
        name=file_name(f"{stem}_versus_compute", width),
        title=f"{error_label(study.metric)} versus training compute",
        caption=error_caption(study, runs, curves),
        alt=error_alt(study, runs, curves),
        figure=figure,
        data=_data(runs, curves),
        provenance=_provenance(study),
    )


def _curves(study: MetricStudy) -> Curves:
    """The frontier of each objective, drawn on to the largest compute that any run is planned with."""
    planned = study.table.get("planned_train_flops", pd.Series(dtype=float)).max()
    farthest = 0.0 if math.isnan(planned) else float(planned)
    return {name: frontier_curve(side, farthest) for name, side in study.sides.items()}


def _draw(
    axes: Axes, study: MetricStudy, names: Sequence[str], runs: pd.DataFrame, curves: Curves, page: style.Page
) -> list[Label]:
    """Draw one panel; its labels."""
    looks = style.looks_of(study.table, list(study.sides))
    runs = runs[runs["objective"].isin(names)]
    axes.set(xscale="log", yscale="log", ylabel=error_label(study.metric))
    axes.set_xlabel(lettering.flops_label(page, num_columns(axes)))
    notes = [note for name in names for note in draw_frontier(axes, name, curves[name], page, looks)]
    draw_runs(axes, runs, page, looks)
    draw_pareto(axes, runs, page, looks)
    _set_limits(axes, runs, page)
    notes += _draw_guessing(axes, study, names)
    notes += draw_without_score(axes, runs, page, looks)
    notes += [_no_law(name, runs, looks) for name in names if curves[name] is None and _has_error(runs, name)]
    if not runs["error"].notna().any():
        axes.text(0.5, 0.5, "no finished run has this metric yet", transform=axes.transAxes, ha="center")
    return notes


def _set_limits(axes: Axes, runs: pd.DataFrame, page: style.Page) -> None:
    """Limits that show every run; bands may leave the axes."""
    compute, errors = scored_limits(runs)
    axes.set_xlim(*style.padded_log_limits(compute, low=0.05, high=0.05, least_factor=10))
    low = 0.16 if (runs["standing"] == "not finished").any() else 0.07
    low = 0.26 if (runs["standing"] == "sealed").any() else low
    high = 0.14 if (runs["standing"] == "failed").any() else 0.07
    axes.set_ylim(*style.padded_log_limits(errors, low=low, high=high, least_factor=1.15))
    style.label_log_axis(axes, "x", scientific=True, most=page.most_ticks)
    style.label_log_axis(axes, "y", scientific=False)
    if not compute:
        axes.set_xticks([])
    if not errors:
        axes.set_yticks([])


def _draw_guessing(axes: Axes, study: MetricStudy, names: Sequence[str]) -> list[Label]:
    """A dashed line at the error of guessing, if all runs share one and some run comes near it."""
    points = study.selection.points[study.selection.points["objective"].isin(names)]
    levels = points["guessing_error"].dropna().unique()
    if len(levels) != 1 or levels[0] > NEAR_GUESSING * points["error"].max():
        return []
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, levels[0] * 1.02))
    style.label_log_axis(axes, "y", scientific=False)
    axes.axhline(levels[0], color=style.GREY, linestyle=(0, (4, 3)), linewidth=0.8, gid="guessing")
    left, right = np.log(axes.get_xlim())
    anchors = [(float(np.exp(left + share * (right - left))), float(levels[0])) for share in (0.9, 0.5, 0.1)]
    return [Label(text="guessing", anchors=anchors, colour=style.GREY)]


def _has_error(runs: pd.DataFrame, name: str) -> bool:
    return bool((runs["objective"].eq(name) & runs["error"].notna()).any())


def _no_law(name: str, runs: pd.DataFrame, looks: style.Looks) -> Label:
    """The name of an objective without a law, beside its runs; the caption says why there is none."""
    own = runs[runs["objective"].eq(name) & runs["error"].notna()].sort_values("train_flops", ascending=False)
    anchors = [(float(run["train_flops"]), float(run["error"])) for run in own.to_dict("records")]
    colour = lettering.text_colour(looks.colours[name])
    return Label(text=f"{name}: no law", anchors=anchors[:8], colour=colour, weight="bold")


def _entries(
    study: MetricStudy, runs: pd.DataFrame, curves: Curves, page: style.Page
) -> list[list[key.Entry]]:
    looks = style.looks_of(study.table, list(study.sides))
    towers = key.tower_entries(looks, page, list(runs["image_tower"].dropna().unique()))
    drawn = [curve for curve in curves.values() if curve is not None]
    level, others = f"{study.options.level:.0%}", []
    if any(curve["mean_lower"].notna().any() for curve in drawn):
        others.append(key.band_entry(page, MEAN_ALPHA + NEW_RUN_ALPHA, f"{level} of the mean"))
        others.append(key.band_entry(page, NEW_RUN_ALPHA, f"{level} of a new run"))
    if any(curve["extrapolated"].any() for curve in drawn):
        others.append(key.line_entry(page, "extrapolated", dashes=DASHES, width=0.8))
    if runs["pareto"].any():
        others.append(key.ring_entry(page, "raw Pareto point, not fitted"))
    if (runs["standing"] != "fitted").any():
        others.append(key.dot_entry(page, "not in the fit", filled=False))
    return [towers, others]


def _data(runs: pd.DataFrame, curves: Curves) -> pd.DataFrame:
    """Every run and every drawn curve; the column `kind` is "run" or "frontier"."""
    frames = [runs.assign(kind="run")]
    frames += [
        curve.assign(kind="frontier", objective=name) for name, curve in curves.items() if curve is not None
    ]
    data = pd.concat(frames, ignore_index=True)
    return data[["kind", *(column for column in data if column != "kind")]]


def _provenance(study: MetricStudy) -> dict[str, object]:
    facts = {name: fit_facts(side.fit) for name, side in study.sides.items()}
    bands = {
        name: side.refits.reason or "drawn" if side.refits else "no law" for name, side in study.sides.items()
    }
    filters = filter_facts(study.selection)
    return provenance(metric=study.metric, filters=filters, fits=facts, bands=bands, options=study.options)
