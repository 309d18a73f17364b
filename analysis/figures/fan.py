"""Forward validation as a fan: what each share of the compute predicts of the runs above it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import compute_axis, empty_panel, hide_inner_labels, panel_figure
from analysis.figures.provenance import fit_facts, provenance
from analysis.filters import error_label
from analysis.selection.forward import LEVEL, Fold, ForwardScore

BAR = 0.35  # opacity of intervals


def forward_fan(
    score: ForwardScore, objective: str, metric: str, looks: style.Looks, *, width: style.Width = "full"
) -> Drawing:
    """A panel per share of the largest compute: runs it was fitted to, and those above as predicted and measured."""
    page, colour = style.PAGES[width], looks.colours[objective]
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(score.folds), 1), most=3, share_y=True)
        columns = min(len(panels), 3) if page.panel_columns > 1 else 1
        wanted = {
            axes: _draw(axes, fold, metric, colour, page, columns) for axes, fold in zip(panels, score.folds)
        }
        if score.folds:
            key.add_key(figure, page, [_entries(page, colour)])
        else:
            empty_panel(
                panels[0],
                f"{objective}: no share of the compute can be fitted and predicts runs above it",
                page,
            )
        hide_inner_labels(panels)
        place_labels(figure, wanted)
    return Drawing(
        name=file_name(f"{metric.replace('.', '_')}_forward_{objective}", width),
        title=f"Forward validation of {score.form.name}, {objective}",
        caption=(
            f"Each panel fits the runs of {objective} left of its line and predicts those right of it. "
            f"Bars: {LEVEL:.0%} interval of a new run. {_sentence(score)}"
        ),
        alt=f"Forward validation of {score.form.name} for {objective}. {_sentence(score)}",
        figure=figure,
        data=fan_data(score),
        provenance=provenance(
            metric=metric,
            objective=objective,
            form=score.form.name,
            level=LEVEL,
            rmse=score.rmse,
            bias=score.bias,
            coverage=score.coverage,
            folds=[{"share": fold.share, "fit": fit_facts(fold.fit)} for fold in score.folds],
        ),
    )


def fan_data(score: ForwardScore) -> pd.DataFrame:
    """kind ("fitted" or "predicted"), share, run_id, train_flops, measured, predicted, lower, upper."""
    columns = ["kind", "share", "run_id", "train_flops", "measured", "predicted", "lower", "upper"]
    frames = [pd.DataFrame(columns=columns)]
    for fold in score.folds:
        seen = fold.fit.observations
        below = {
            "run_id": seen.run_ids,
            "train_flops": seen.covariates["train_flops"],
            "measured": seen.error_N,
        }
        above = {"run_id": fold.run_ids, "train_flops": fold.compute_F, "measured": fold.measured_F}
        above |= {"predicted": fold.predicted_F, "lower": fold.lower_F, "upper": fold.upper_F}
        frames.append(pd.DataFrame(below).assign(kind="fitted", share=fold.share))
        frames.append(pd.DataFrame(above).assign(kind="predicted", share=fold.share))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)[columns]


def _draw(axes: Axes, fold: Fold, metric: str, colour: str, page: style.Page, columns: int) -> list[Label]:
    seen = fold.fit.observations
    axes.set(xscale="log", yscale="log")
    below, size = seen.covariates["train_flops"], page.marker * 0.75
    axes.plot(
        below,
        seen.error_N,
        "o",
        color=colour,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=4,
        gid="fitted",
    )
    axes.vlines(
        fold.compute_F,
        fold.lower_F,
        fold.upper_F,
        color=colour,
        alpha=BAR,
        linewidth=page.line * 1.6,
        zorder=2,
    )
    axes.plot(
        fold.compute_F, fold.predicted_F, "_", color=colour, markersize=size * 1.7, zorder=3, gid="predicted"
    )
    axes.plot(
        fold.compute_F,
        fold.measured_F,
        "o",
        markersize=size,
        markerfacecolor="white",
        markeredgecolor=style.INK,
        markeredgewidth=0.9,
        zorder=5,
        gid="measured",
    )
    edge = float(np.sqrt(below.max() * fold.compute_F.min()))
    axes.axvline(edge, color=style.GREY, linewidth=0.8, zorder=1)
    axes.set_xlim(*style.padded_log_limits([*below, *fold.compute_F], least_factor=10))
    compute_axis(axes, page, columns=columns)
    axes.set_ylabel(error_label(metric))
    errors = fold.predicted_F - fold.measured_F
    inside = np.mean((fold.lower_F <= fold.measured_F) & (fold.measured_F <= fold.upper_F))
    axes.set_title(
        f"up to {fold.share:.0%} of the compute\nrmse {words.number(float(np.sqrt(np.mean(errors**2))))}, "
        f"{inside:.0%} inside",
    )
    style.label_log_axis(axes, "y", scientific=False)
    return []


def _entries(page: style.Page, colour: str) -> list[key.Entry]:
    fitted = key.dot_entry(page, "fitted", colour=colour, filled=True)
    measured = key.dot_entry(page, "measured, not fitted", colour=style.INK, filled=False)
    return [
        fitted,
        measured,
        key.band_entry(page, BAR, f"predicted, {LEVEL:.0%} of a new run", colour=colour),
    ]


def _sentence(score: ForwardScore) -> str:
    if not score.folds:
        return "No share of the compute could be fitted and predict runs above it."
    shares = words.listed([f"{fold.share:.0%}" for fold in score.folds])
    return (
        f"From up to {shares} of the largest compute, {words.counted(score.num_predicted, 'prediction')}: "
        f"rmse {words.number(score.rmse)}, bias {words.number(score.bias)} (predicted minus measured), "
        f"{score.coverage:.0%} of the measured errors inside their {LEVEL:.0%} interval."
    )
