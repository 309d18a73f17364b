"""Other scores (higher is better) against training compute, a small panel per kind of score; no laws."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.layout import REFERENCE, compute_axis, empty_panel, is_lowest, panel_figure
from analysis.figures.provenance import provenance
from analysis.figures.runs import marker_of

COLUMNS = ("run_id", "objective", "image_tower", "samples_seen", "seed", "status", "train_flops")
MOST = 3  # panels side by side on a full page


def score_panels(
    table: pd.DataFrame, metrics: Sequence[str], looks: style.Looks, *, width: style.Width = "full"
) -> Drawing:
    """A panel per task; a task and its `_head` variant share one.

    zero_shot uses CLIP's text tower, zero_shot_head the scores of SuperClass's own label head; likewise retrieval.
    """
    page, families = style.PAGES[width], _families(metrics)
    data = table[[name for name in (*COLUMNS, *metrics, *_chances(table, metrics)) if name in table]]
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(families), 1), most=MOST)
        columns = min(len(panels), MOST) if page.panel_columns > 1 else 1
        if not families:
            empty_panel(panels[0], "no other score was recorded", page)
        for axes, (family, members) in zip(panels, families.items()):
            _draw(axes, table, members, looks, page, columns)
            axes.set_title(family.replace("_", " ").replace(".", "\n"))
        for axes in panels:
            if not is_lowest(axes):
                axes.set_xlabel("")
        key.add_key(figure, page, _entries(table, metrics, looks, page))
        figure.draw_without_rendering()
    message = (
        " ".join(words.sentence(_told(table, metric)) for metric in metrics) or "No other score was recorded."
    )
    return Drawing(
        name=file_name("other_scores", width),
        title="Other scores versus training compute",
        caption=(
            "Higher is better. zero_shot and retrieval use the text tower of CLIP, zero_shot_head and retrieval_head "
            "the scores of SuperClass's label head for the same class or caption tokens. Dashed: chance, where the "
            "task defines it."
        ),
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(metrics=list(metrics)),
    )


def _families(metrics: Sequence[str]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(metric.replace("_head.", "."), []).append(metric)
    return families


def _chances(table: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Columns of chance levels that are drawn."""
    names = [f"{metric.partition('.')[0]}.chance" for metric in metrics if metric.endswith(".top1")]
    return [name for name in dict.fromkeys(names) if name in table]


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    metrics: Sequence[str],
    looks: style.Looks,
    page: style.Page,
    columns: int,
) -> None:
    axes.set_xscale("log")
    for metric in metrics:
        runs = table.dropna(subset=[metric, "train_flops"])
        for (objective, tower), ones in runs.groupby(["objective", "image_tower"]):
            colour = looks.colours[str(objective)]
            mean = ones.groupby("samples_seen")[["train_flops", metric]].mean()
            axes.plot(mean["train_flops"], mean[metric], color=colour, linewidth=0.6, alpha=0.55, zorder=2)
            looked = marker_of(str(tower), colour, page, looks, filled=True)
            axes.plot(
                ones["train_flops"], ones[metric], **looked, zorder=4, gid=f"{metric}.{objective}.{tower}"
            )
    for chance in _chances(table, metrics):
        axes.axhline(float(table[chance].min()), **REFERENCE)
    compute = table.dropna(subset=list(metrics), how="all")["train_flops"].dropna()
    axes.set_xlim(*style.padded_log_limits(list(compute), least_factor=10))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share correct")
    compute_axis(axes, page, columns=columns)


def _entries(
    table: pd.DataFrame, metrics: Sequence[str], looks: style.Looks, page: style.Page
) -> list[list[key.Entry]]:
    shown = table.dropna(subset=list(metrics), how="all") if metrics else table.iloc[:0]
    names = [name for name in looks.colours if len(shown) and name in set(shown["objective"])]
    dots = [key.dot_entry(page, name, filled=True, colour=looks.colours[name]) for name in names]
    towers = list(shown["image_tower"].unique()) if len(shown) else []
    chance = [key.line_entry(page, "chance", dashes=(4, 3), width=0.5)] if _chances(table, metrics) else []
    return [dots, [*key.tower_entries(looks, page, towers), *chance]]


def _told(table: pd.DataFrame, metric: str) -> str:
    runs = table.dropna(subset=[metric])
    best = [
        f"{words.number(float(own[metric].max()))} of {objective} ({words.counted(len(own), 'run')})"
        for objective, own in runs.groupby("objective", sort=False)
    ]
    return f"best {metric}: {words.listed(best) or 'no run yet'}"
