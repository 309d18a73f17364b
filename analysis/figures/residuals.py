"""Residuals against parameters, samples and compute: whatever shape is left is what the law does not say."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.layout import REFERENCE, compute_axis, empty_panel, hide_inner_labels, panel_figure
from analysis.figures.provenance import filter_facts, fit_facts, provenance
from analysis.figures.runs import marker_of
from analysis.filters import is_loss
from analysis.study.study import MetricStudy, ObjectiveStudy

COVARIATES = ("parameters", "samples_seen", "train_flops")
LABELS = {
    "parameters": "parameters of the image tower",
    "samples_seen": "samples_seen",
    "train_flops": "training FLOPs",
}


def residual_panels(study: MetricStudy, *, width: style.Width = "full") -> Drawing:
    """Measured minus predicted error of every fitted run, a panel per covariate that the runs have."""
    page, data = style.PAGES[width], residual_data(study)
    shown = [name for name in COVARIATES if name in data and data[name].nunique() > 0]
    looks = style.looks_of(study.table, list(study.sides))
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(shown), 1), most=3, share_y=True)
        for axes, name in zip(panels, shown):
            _draw(axes, data, name, study, looks, page)
        if shown:
            key.add_key(figure, page, _entries(data, looks, page))
            hide_inner_labels(panels, below=False)
        else:
            empty_panel(panels[0], "no law, so no residuals", page)
        figure.draw_without_rendering()
    message = _message(study, data)
    return Drawing(
        name=file_name(f"{study.metric.replace('.', '_')}_residuals", width),
        title="Residuals of the laws",
        caption=f"Measured minus predicted, one marker per fitted run; a trend is what the law misses. {message}",
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(
            metric=study.metric,
            residual="log_error" if is_loss(study.metric) else "error",
            filters=filter_facts(study.selection),
            fits={name: fit_facts(side.fit) for name, side in study.sides.items()},
        ),
    )


def residual_data(study: MetricStudy) -> pd.DataFrame:
    """run_id, objective, image_tower, covariates, measured, predicted, residual (relative for a loss)."""
    frames = [_residuals(side, is_loss(study.metric)) for side in study.sides.values()]
    frames = [frame for frame in frames if frame is not None]
    columns = ["run_id", "objective", "image_tower", "measured", "predicted", "residual"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _residuals(side: ObjectiveStudy, relative: bool) -> pd.DataFrame | None:
    if side.fit is None or side.fit.law is None:
        return None
    seen, law = side.fit.observations, side.fit.law
    predicted = law.predict(**{name: seen.covariates[name] for name in side.fit.form.covariates})
    residual = np.log(seen.error_N / predicted) if relative else seen.error_N - predicted
    towers = side.points.set_index("run_id")["image_tower"].reindex(seen.run_ids).astype(str)
    covariates = {name: values for name, values in seen.covariates.items() if name in COVARIATES}
    fixed = {"run_id": seen.run_ids, "objective": side.objective, "image_tower": towers.to_numpy()}
    return pd.DataFrame(
        {**fixed, **covariates, "measured": seen.error_N, "predicted": predicted, "residual": residual}
    )


def _draw(
    axes: Axes, data: pd.DataFrame, covariate: str, study: MetricStudy, looks: style.Looks, page: style.Page
) -> None:
    axes.set_xscale("log")
    axes.axhline(0.0, **REFERENCE)
    for (objective, tower), rows in data.groupby(["objective", "image_tower"], sort=False):
        looked = marker_of(str(tower), looks.colours[str(objective)], page, looks, filled=True)
        place: style.Look = {"gid": f"residual.{covariate}.{objective}.{tower}", "zorder": 3}
        axes.plot(rows[covariate], rows["residual"], **looked, **place)
    axes.set_xlim(*style.padded_log_limits(list(data[covariate].dropna()), least_factor=3))
    most = float(data["residual"].abs().max()) or 1e-6
    axes.set_ylim(-1.15 * most, 1.15 * most)
    if covariate == "train_flops":
        compute_axis(axes, page, columns=3 if page.panel_columns > 1 else 1)
    else:
        axes.set_xlabel(LABELS[covariate])
        style.label_quantity_axis(axes, most=4)
    relative = " (relative)" if is_loss(study.metric) else ""
    axes.set_ylabel(f"measured - predicted{relative}")


def _entries(data: pd.DataFrame, looks: style.Looks, page: style.Page) -> list[list[key.Entry]]:
    names = list(dict.fromkeys(data["objective"]))
    dots = [key.dot_entry(page, name, filled=True, colour=looks.colours[name]) for name in names]
    return [dots, key.tower_entries(looks, page, list(data["image_tower"].unique()))]


def _message(study: MetricStudy, data: pd.DataFrame) -> str:
    parts = []
    for name, side in study.sides.items():
        rows = data[data["objective"] == name]
        if not len(rows):
            parts.append(f"{name} has no law: {side.reason}")
            continue
        worst = rows.sort_values("residual", key=abs, kind="stable").to_dict("records")[-1]
        spread = float(np.std(rows["residual"]))
        parts.append(
            f"residuals of {name} have a standard deviation of {words.number(spread)} over "
            f"{words.counted(len(rows), 'run')}, the largest is {words.number(worst['residual'])} "
            f"({worst['run_id']})"
        )
    return " ".join(words.sentence(part) for part in parts)
