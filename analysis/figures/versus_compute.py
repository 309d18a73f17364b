"""The figures of a report.  A figure takes points and fits and makes none; its numbers come with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures import style
from analysis.figures.drawing import Drawing
from analysis.figures.panels import MARKER_SIZE, draw_errors, draw_scores, law_curve
from analysis.filters import FAILED_STATUSES, error_label, is_loss
from analysis.laws import SaturatingPowerLaw
from analysis.old_study import MetricStudy, objectives_of

DATA_COLUMNS = ("run_id", "objective", "image_tower", "samples_seen", "seed", "status", "planned_train_flops")
SCORE_COLUMNS = 3


def error_versus_compute(study: MetricStudy) -> Drawing:
    """Error against training FLOPs, all objectives in one panel, each with its law and bootstrap band."""
    with style.house_style():
        figure = style.new_figure(9.2, 5.0)
        axes = figure.add_subplot()
        draw_errors(axes, study, list(study.laws.values()))
        axes.set_xlabel(style.FLOPS_LABEL)
        axes.set_ylabel(error_label(study.metric))
        _legend(figure, study)
    caption = _caption(study)
    if is_loss(study.metric) and len(study.laws) > 1:
        caption += " Losses of different objectives are different quantities: their heights do not compare."
    return Drawing(
        name=f"{study.metric.replace('.', '_')}_versus_compute",
        title=f"{error_label(study.metric).capitalize()} versus training compute",
        caption=caption,
        figure=figure,
        data=figure_data(study),
    )


def loss_panels(study: MetricStudy) -> Drawing:
    """Held-out loss against training FLOPs, one panel and one scale per objective."""
    with style.house_style():
        figure = style.new_figure(4.6 * max(len(study.laws), 1), 3.8)
        for index, (objective, law) in enumerate(study.laws.items()):
            axes = figure.add_subplot(1, len(study.laws), index + 1)
            draw_errors(axes, study, [law])
            axes.set_title(objective, loc="left", fontweight="bold")
            axes.set_ylabel(error_label(study.metric))
            axes.set_xlabel("training FLOPs")
    caption = (
        "Losses of different objectives are different quantities and do not compare, hence one panel and one "
        f"scale each. {_caption(study)}"
    )
    return Drawing(
        name="held_out_loss_versus_compute",
        title="Held-out loss versus training compute",
        caption=caption,
        figure=figure,
        data=figure_data(study),
    )


def score_panels(table: pd.DataFrame, metrics: Sequence[str]) -> Drawing:
    """Other scores (higher is better) against training FLOPs, a small panel per kind of score; no laws.

    A task and its `_head` variant share a panel: zero_shot uses CLIP's text tower, zero_shot_head the scores
    of SuperClass's own label head; likewise retrieval.
    """
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(metric.replace("_head.", "."), []).append(metric)
    columns = min(SCORE_COLUMNS, max(len(families), 1))
    rows = -(-max(len(families), 1) // columns)
    with style.house_style():
        figure = style.new_figure(9.2 if columns > 1 else 4.6, 3.0 * rows)
        for index, (family, members) in enumerate(families.items()):
            axes = figure.add_subplot(rows, columns, index + 1)
            draw_scores(axes, table, members, objectives_of(table))
            axes.set_title(family.replace("_", " ").replace(".", "\n"), loc="left")
            axes.set_xlabel("training FLOPs")
    caption = (
        "Higher is better; colours and markers as above. zero_shot and retrieval use the text tower of CLIP, "
        "zero_shot_head and retrieval_head the scores of SuperClass's label head for the same class or "
        "caption tokens. Dashed: chance, where the task defines it."
    )
    kept = [name for name in (*DATA_COLUMNS, "train_flops", *metrics) if name in table]
    title = "Other scores versus training compute"
    return Drawing(name="other_scores", title=title, caption=caption, figure=figure, data=table[kept])


def figure_data(study: MetricStudy) -> pd.DataFrame:
    """Every run and every drawn curve of a study; the column `kind` is "run" or "law"."""
    runs = study.table[[name for name in DATA_COLUMNS if name in study.table]].assign(kind="run")
    scores = study.selection.points[["run_id", "train_flops", "error"]]
    frames = [runs.merge(scores, on="run_id", how="left")]
    for law in study.laws.values():
        curve = law_curve(law)
        if curve is not None:
            frames.append(curve.assign(kind="law", objective=law.objective))
    return pd.concat(frames, ignore_index=True)


def law_text(law: SaturatingPowerLaw) -> str:
    """The law as matplotlib mathematics, rounded for reading; a floor of 0 is left out."""
    reference = style.power_text(float(f"{law.reference_compute:.2g}")).strip("$")
    floor = f"{law.floor:#.3g} + " if law.floor else ""
    return rf"${floor}{law.scale:#.3g}\,(C/{reference})^{{-{law.exponent:#.2g}}}$"


def _legend(figure: Figure, study: MetricStudy) -> None:
    """One legend beside the axes: objectives with their laws, towers, and what hollow means."""
    colours = style.objective_colours(list(study.laws))
    handles: list[Any] = []  # matplotlib takes tuples of artists here, its annotations do not
    labels: list[str] = []
    for name, law in study.laws.items():
        line = Line2D([], [], color=colours[name], linewidth=2.2 if law.fit.law else 0.8)
        band = Patch(color=colours[name], alpha=style.BAND_ALPHA if law.fit.law else 0, linewidth=0)
        handles.append((band, line))
        labels.append(f"{name}\n{law_text(law.fit.law) if law.fit.law else 'no law stated'}")
    for tower, marker in style.tower_markers(study.table).items():
        size = MARKER_SIZE * style.marker_scale(marker)
        handles.append(Line2D([], [], linestyle="none", marker=marker, color="#555555", markersize=size))
        labels.append(tower)
    if study.waiting["planned_train_flops"].notna().any():
        hollow = Line2D([], [], linestyle="none", marker="o", markersize=MARKER_SIZE, color="white")
        hollow.set_markeredgecolor("#555555")
        handles.append(hollow)
        labels.append("hollow: no score")
    figure.legend(
        handles,
        labels,
        loc="outside right upper",
        title="colour: objective\nshape: image_tower",
        alignment="left",
        labelspacing=0.8,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )


def _caption(study: MetricStudy) -> str:
    drawn = [law for law in study.laws.values() if law.fit.law]
    text = (
        "One marker per run, colour by objective, shape by image_tower; thin lines join the samples_seen of "
        "one tower. Compute counts everything that is trained."
    )
    if drawn:
        text += " Thick: the fitted law, over the range of its points."
    if any(law.bootstrap and not law.bootstrap.reason for law in drawn):
        text += f" Shaded: pointwise {drawn[0].bootstrap.level:.0%} band." if drawn[0].bootstrap else ""
    failed = study.waiting["status"].isin(FAILED_STATUSES)
    if len(study.waiting):
        text += f" Hollow: {failed.sum()} failed (top edge), {(~failed).sum()} without a score (bottom edge)."
    unplaced = study.waiting.loc[study.waiting["planned_train_flops"].isna(), "run_id"]
    if len(unplaced):
        text += f" Not drawn, as no plan states their compute: {', '.join(unplaced)}."
    return text
