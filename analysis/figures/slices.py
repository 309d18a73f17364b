"""Slices through the fitted surface: error against samples per tower, or against parameters per samples_seen."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import lettering, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import empty_panel, hide_inner_labels, num_columns, panel_figure
from analysis.figures.lettering import text_colour
from analysis.figures.provenance import filter_facts, fit_facts, provenance
from analysis.figures.runs import marker_of
from analysis.filters import error_label, is_loss
from analysis.study.study import MetricStudy, ObjectiveStudy

By = Literal["image_tower", "samples_seen"]
CURVE_POINTS = 60
LEFT = 0.08  # of the range of the runs: free at the left of a panel
ALONG = {"image_tower": "samples_seen", "samples_seen": "parameters"}
LABELS = {"samples_seen": "samples_seen", "parameters": "parameters of the image tower"}


def slices(study: MetricStudy, by: By, *, width: style.Width = "full") -> Drawing:
    """A panel per objective; a curve of the surface and the runs of every tower (or samples_seen), named at its end."""
    page, looks = style.PAGES[width], style.looks_of(study.table, list(study.sides))
    data = slice_data(study, by)
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(study.sides), 1), share_y=not is_loss(study.metric))
        wanted = {}
        for axes, side in zip(panels, study.sides.values()):
            rows = data[data["objective"] == side.objective]
            if rows.empty:
                empty_panel(axes, f"{side.objective}: {side.reason}", page)
                continue
            shared = rows if is_loss(study.metric) else data
            wanted[axes] = _draw(axes, rows, by, study.metric, looks, page)
            limits = style.padded_log_limits(list(shared["error"]), low=0.14, high=0.08, least_factor=1.15)
            axes.set_ylim(*limits)
            style.label_log_axis(axes, "y", scientific=False)
            axes.set_title(
                side.objective, fontweight="bold", color=text_colour(looks.colours[side.objective])
            )
        if not is_loss(study.metric) and len(wanted) == len(panels):
            hide_inner_labels(panels)
        place_labels(figure, wanted)
    message = _message(study, data, by)
    return Drawing(
        name=file_name(f"{study.metric.replace('.', '_')}_by_{by}", width),
        title=f"{error_label(study.metric)} by {by}",
        caption=f"Markers: runs. Lines: the fitted surface at each {by}, over the range of its runs. {message}",
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(
            metric=study.metric,
            by=by,
            filters=filter_facts(study.selection),
            fits={name: fit_facts(side.fit) for name, side in study.sides.items()},
        ),
    )


def slice_data(study: MetricStudy, by: By) -> pd.DataFrame:
    """kind ("run" or "surface"), objective, slice, the covariate along it, error; run_id and image_tower of runs."""
    frames = [frame for side in study.sides.values() for frame in _frames(side, by)]
    columns = ["kind", "objective", "slice", "run_id", "image_tower", "samples_seen", "parameters", "error"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _frames(side: ObjectiveStudy, by: By) -> list[pd.DataFrame]:
    points = side.points
    if points.empty or "parameters.image_tower" not in points:
        return []
    runs = points[["run_id", "image_tower", "samples_seen", "error"]].assign(
        parameters=points["parameters.image_tower"]
    )
    found = [runs.assign(kind="run", objective=side.objective, slice=runs[by].astype(str))]
    law = side.fit.law if side.fit else None
    if law is None or set(law.form.covariates) != {"parameters", "samples_seen"}:
        return found
    for name, rows in runs.groupby(by):
        if rows[ALONG[by]].nunique() == 1:
            continue
        along = np.geomspace(rows[ALONG[by]].min(), rows[ALONG[by]].max(), CURVE_POINTS)
        fixed = "parameters" if by == "image_tower" else "samples_seen"
        covariates = {ALONG[by]: along, fixed: np.full(CURVE_POINTS, float(rows[fixed].median()))}
        curve = pd.DataFrame({**covariates, "error": law.predict(**covariates)})
        tower = {"image_tower": name} if by == "image_tower" else {}
        found.append(curve.assign(kind="surface", objective=side.objective, slice=str(name), **tower))
    return found


def _draw(
    axes: Axes, rows: pd.DataFrame, by: By, metric: str, looks: style.Looks, page: style.Page
) -> list[Label]:
    along, objective = ALONG[by], str(rows["objective"].iloc[0])
    colour, labels = looks.colours[objective], []
    axes.set(xscale="log", yscale="log", xlabel=LABELS[along], ylabel=error_label(metric))
    for name, part in rows.groupby("slice", sort=False):
        curve, runs = part[part["kind"] == "surface"], part[part["kind"] == "run"]
        axes.plot(
            curve[along],
            curve["error"],
            color=colour,
            linewidth=page.line * 0.7,
            zorder=2,
            gid=f"surface.{objective}.{name}",
        )
        for tower, ones in runs.groupby("image_tower"):
            looked = marker_of(str(tower), colour, page, looks, filled=True)
            axes.plot(ones[along], ones["error"], **looked, zorder=3, gid=f"runs.{objective}.{name}.{tower}")
        ordered = runs.sort_values(along, kind="stable")
        ends = ordered.iloc[[-1, 0, len(ordered) // 2]]
        anchors = [(float(end[along]), float(end["error"])) for end in ends.to_dict("records")]
        text = str(name) if by == "image_tower" else f"{words.short(float(str(name)))} samples"
        labels.append(Label(text=text, anchors=anchors, colour=text_colour(colour)))
    room = lettering.room_beside([label.text for label in labels], page, num_columns(axes))
    high = (1 + LEFT) * room / (1 - room)
    axes.set_xlim(*style.padded_log_limits(list(rows[along]), low=LEFT, high=high, least_factor=3))
    style.label_quantity_axis(axes, most=5)
    return labels


def _message(study: MetricStudy, data: pd.DataFrame, by: By) -> str:
    parts = []
    for name, side in study.sides.items():
        runs = data[(data["objective"] == name) & (data["kind"] == "run")]
        if runs.empty:
            parts.append(f"{name}: {side.reason}")
            continue
        best = runs.sort_values("error", kind="stable").to_dict("records")[0]
        parts.append(
            f"{name}: {words.counted(runs['slice'].nunique(), 'slice')} of {words.counted(len(runs), 'run')}, least "
            f"error {words.number(best['error'])} ({best['image_tower']}, {words.short(best['samples_seen'])} samples)"
        )
    return " ".join(words.sentence(part) for part in parts)
