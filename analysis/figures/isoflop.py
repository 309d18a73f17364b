"""IsoFLOP valleys: error against parameters at equal compute, as measured, as a cubic, and as the surface implies."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import empty_panel, hide_inner_labels, panel_figure
from analysis.figures.lettering import text_colour
from analysis.figures.provenance import fit_facts, provenance
from analysis.figures.valleys import Levels, isoflop_data
from analysis.filters import error_label, is_loss
from analysis.study.study import MetricStudy


def isoflop_valleys(study: MetricStudy, levels: Levels, *, width: style.Width = "full") -> Drawing:
    """A panel per objective: every level in a shade of its colour, dark for much compute; bottoms marked."""
    page, looks = style.PAGES[width], style.looks_of(study.table, list(study.sides))
    data = isoflop_data(study, levels)
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(study.sides), 1), share_y=not is_loss(study.metric))
        wanted = {}
        for axes, (name, side) in zip(panels, study.sides.items()):
            rows = data[data["objective"] == name]
            if rows.empty:
                empty_panel(axes, f"{name}: no two runs share a training compute", page)
                continue
            wanted[axes] = _draw(axes, rows, looks.colours[name], study.metric, page)
            axes.set_title(name, fontweight="bold", color=text_colour(looks.colours[name]))
        if wanted and not is_loss(study.metric):
            hide_inner_labels([axes for axes in panels if axes in wanted])
        key.add_key(figure, page, [_entries(page, data)])
        place_labels(figure, wanted)
    message = _message(study, data)
    return Drawing(
        name=file_name(f"{study.metric.replace('.', '_')}_isoflop", width),
        title=f"{error_label(study.metric)} at equal training compute",
        caption=(
            "Runs of (nearly) equal training compute, dark for much. Solid: a polynomial in ln(parameters) "
            "through the runs of that compute alone. Dashed: the fitted surface at that compute, samples_seen being "
            f"what the compute pays for. Ticks: their bottoms, which should agree. {message}"
        ),
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(
            metric=study.metric,
            surfaces={name: fit_facts(side.fit) for name, side in study.sides.items()},
            levels={
                name: {f"{c:.6g}": fit_facts(fit) for c, fit in one.items()} for name, one in levels.items()
            },
        ),
    )


def _draw(axes: Axes, rows: pd.DataFrame, colour: str, metric: str, page: style.Page) -> list[Label]:
    axes.set(xscale="log", yscale="log", ylabel=error_label(metric), xlabel="parameters of the image tower")
    computes, labels = sorted(rows["train_flops"].unique()), []
    for rank, compute in enumerate(computes):
        shade = style.paler(colour, 0.55 * (1 - (rank + 1) / len(computes)))
        level = rows[rows["train_flops"] == compute]
        for kind, look in _looks(page, shade).items():
            part = level[level["kind"] == kind]
            axes.plot(
                part["parameters"], part["error"], **look, gid=f"{kind.replace(' ', '-')}.{compute:.4g}"
            )
        last = level[level["kind"] == "run"].sort_values("parameters").iloc[[-1, 0]]
        anchors = [(float(row["parameters"]), float(row["error"])) for row in last.to_dict("records")]
        labels.append(
            Label(text=style.power_text(float(f"{compute:.2g}")), anchors=anchors, colour=text_colour(shade))
        )
    axes.set_xlim(*style.padded_log_limits(list(rows["parameters"]), low=0.06, high=0.24, least_factor=3))
    style.label_quantity_axis(axes, most=4)
    style.label_log_axis(axes, "y", scientific=False)
    return labels


def _looks(page: style.Page, shade: str) -> dict[str, style.Look]:
    line = {"color": shade, "linewidth": page.line * 0.75}
    tick = {"linestyle": "none", "marker": "|", "color": shade, "markersize": page.marker * 2.2, "zorder": 5}
    dot = {"linestyle": "none", "marker": "o", "color": shade, "markersize": page.marker * 0.85}
    return {
        "polynomial": {**line, "zorder": 3},
        "surface": {**line, "linestyle": (0, (2.5, 1.5)), "zorder": 2.5},
        "run": {**dot, "markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4},
        "polynomial bottom": {**tick, "markeredgewidth": 1.8},
        "surface bottom": {**tick, "markeredgewidth": 0.9},
    }


def _entries(page: style.Page, data: pd.DataFrame) -> list[key.Entry]:
    kinds, found = set(data["kind"]), []
    if "run" in kinds:
        found.append(key.dot_entry(page, "run", filled=True))
    if "polynomial" in kinds:
        found.append(key.line_entry(page, "polynomial of this compute", width=0.75))
    if "surface" in kinds:
        found.append(key.line_entry(page, "fitted surface", width=0.75, dashes=(2.5, 1.5)))
    return found


def _message(study: MetricStudy, data: pd.DataFrame) -> str:
    parts = []
    for name in study.sides:
        rows = data[data["objective"] == name]
        if rows.empty:
            parts.append(f"{name}: no two runs share a training compute")
            continue
        text = f"{name}: {words.counted(rows['train_flops'].nunique(), 'level')} of equal compute"
        for kind in ("polynomial", "surface"):
            bottoms = rows[rows["kind"] == f"{kind} bottom"]
            told = [
                f"{words.short(b['parameters'])} at {words.flops(b['train_flops'])}"
                for b in bottoms.to_dict("records")
            ]
            text += f"; bottoms of the {kind}: {words.listed(told) or 'none within the runs'}"
        parts.append(text)
    return " ".join(words.sentence(part) for part in parts)
