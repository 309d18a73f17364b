"""Predicted against measured: what runs cost, and what sealed runs scored; on the line a prediction was right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import key, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import REFERENCE, empty_panel, panel_figure
from analysis.figures.provenance import provenance
from analysis.figures.runs import marker_of
from analysis.filters import error_label

ROW = 2.1  # height of a sealed run, in sizes of the type
LEAST_FACTOR = 2.0  # that cost axes span, so that a plan that held looks like one
SOURCE = "measured_memory_source"  # column that tells what a peak of memory counts
COLUMNS = ["quantity", "run_id", "objective", "image_tower", "predicted", "measured"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A cost that is planned and measured: planned_<name> and measured_<name> are columns of the sweep table."""

    name: str
    label: str
    unit: float  # by which both are divided
    sources: tuple[str, ...] = ()  # of the measurement, which compare with the plan; () = any


LEGEND = "One marker per finished run; on the dashed line it cost what was planned at its launch."
COSTS = (
    Quantity(name="device_hours", label="device-hours", unit=1.0),
    Quantity(name="peak_memory_bytes", label="peak memory per device (GB)", unit=1e9, sources=("allocator",)),
    Quantity(name="data_bytes", label="data read (GB)", unit=1e9),
)


def predicted_versus_measured_cost(
    table: pd.DataFrame, looks: style.Looks, *, width: style.Width = "full"
) -> Drawing:
    """A panel per cost that finished runs have both planned and measured."""
    page, data = style.PAGES[width], cost_data(table)
    shown = [cost for cost in COSTS if cost.label in set(data["quantity"])]
    with style.house_style(page):
        figure, panels = panel_figure(page, max(len(shown), 1))
        if not shown:
            empty_panel(panels[0], "no finished run has a planned and a measured cost", page)
        wanted = {}
        for axes, cost in zip(panels, shown):
            wanted[axes] = _draw(axes, data[data["quantity"] == cost.label], cost.label, looks, page)
        key.add_key(figure, page, _entries(data, looks, page))
        place_labels(figure, wanted)
    message = " ".join(
        words.sentence(_told(data[data["quantity"] == cost.label], cost.label)) for cost in shown
    )
    message = message or "No finished run has a planned and a measured cost."
    return Drawing(
        name=file_name("predicted_versus_measured_cost", width),
        title="Predicted and measured cost",
        caption=" ".join([LEGEND, message, *_caveats([cost.name for cost in shown], table)]),
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(quantities=[dataclasses.asdict(cost) for cost in COSTS]),
    )


def held_out(
    found: pd.DataFrame,
    objective: str,
    metric: str,
    level: float,
    looks: style.Looks,
    *,
    width: style.Width = "full",
) -> Drawing:
    """Predicted and measured error of the holdout (rows of selection.holdout.predicted_and_measured), once unsealed."""
    page, colour = style.PAGES[width], looks.colours[objective]
    inside = int(found["inside"].sum())
    message = (
        f"{inside} of {words.counted(len(found), 'sealed run')} of {objective} "
        f"{'lies' if inside == 1 else 'lie'} inside the {level:.0%} interval of a new run predicted before unsealing."
    )
    with style.house_style(page):
        figure = style.new_figure(page.inches, (max(len(found), 2) + 3) * ROW * page.text / 72)
        axes = figure.add_subplot()
        if len(found):
            _draw_held_out(axes, found, metric, colour, page)
        else:
            empty_panel(axes, "no sealed run has a score", page)
        figure.draw_without_rendering()
    return Drawing(
        name=file_name(f"{metric.replace('.', '_')}_held_out_{objective}", width),
        title=f"Held-out {error_label(metric)} of {objective}",
        caption=f"Bars: the {level:.0%} interval predicted by a fit that never saw the run. {message}",
        alt=message,
        figure=figure,
        data=found,
        provenance=provenance(metric=metric, objective=objective, level=level),
    )


def cost_data(table: pd.DataFrame) -> pd.DataFrame:
    """quantity, run_id, objective, image_tower, predicted, measured of the runs that have both, in its unit."""
    frames = [pd.DataFrame(columns=COLUMNS)]
    for cost in COSTS:
        planned, measured = f"planned_{cost.name}", f"measured_{cost.name}"
        if not {planned, measured, *((SOURCE,) if cost.sources else ())} <= {*table.columns}:
            continue
        runs = table[table[SOURCE].isin(cost.sources)] if cost.sources else table
        runs = runs[(runs[planned] > 0) & (runs[measured] > 0)]
        columns = {"predicted": runs[planned] / cost.unit, "measured": runs[measured] / cost.unit}
        frames.append(runs[["run_id", "objective", "image_tower"]].assign(quantity=cost.label, **columns))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)[COLUMNS]


def _caveats(shown: Sequence[str], table: pd.DataFrame) -> list[str]:
    """What keeps a panel from comparing like with like, and why runs are left out of it."""
    caveats = []
    if "peak_memory_bytes" in shown:
        caveats.append(
            "Memory is the device's: planned with an allowance for fragmentation, which an allocator does not count; "
            "what is offloaded to the host is in neither."
        )
    sources = table.get(SOURCE, pd.Series(dtype=object)).dropna()
    left_out = int((~sources.isin(("", "allocator"))).sum())
    if left_out:
        caveats.append(
            f"Memory is compared where an allocator counted it: {words.counted(left_out, 'run')} measured a resident "
            "set instead, in which are Python, its libraries, the loader's memory and all that is offloaded."
        )
    if "data_bytes" in shown:
        caveats.append(
            "Data read is planned by the mean size of a sample in the shards' files and measured sample by sample, "
            "without the files' tables of contents and after unpacking."
        )
    return caveats


def _draw(axes: Axes, rows: pd.DataFrame, label: str, looks: style.Looks, page: style.Page) -> list[Label]:
    limits = style.padded_log_limits(
        [*rows["predicted"], *rows["measured"]], low=0.1, high=0.1, least_factor=LEAST_FACTOR
    )
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    axes.plot(limits, limits, **REFERENCE)
    for (objective, tower), ones in rows.groupby(["objective", "image_tower"], sort=False):
        looked = marker_of(str(tower), looks.colours[str(objective)], page, looks, filled=True)
        axes.plot(ones["predicted"], ones["measured"], **looked, zorder=4, gid=f"cost.{objective}.{tower}")
    axes.set(xlabel=f"planned {label}", ylabel=f"measured {label}")
    for which in ("x", "y"):
        style.label_log_axis(axes, which, scientific=limits[0] < 1e-3 or limits[1] > 1e5, most=6)
    low, high = np.log(limits)
    anchors = [(float(np.exp(low + at * (high - low))),) * 2 for at in (0.94, 0.06, 0.8, 0.2, 0.5)]
    return [Label(text="as planned", anchors=anchors, colour=style.GREY)]


def _draw_held_out(axes: Axes, found: pd.DataFrame, metric: str, colour: str, page: style.Page) -> None:
    place = np.arange(len(found))
    axes.hlines(place, found["lower"], found["upper"], color=colour, alpha=0.35, linewidth=page.line * 2)
    axes.plot(found["predicted"], place, "|", color=colour, markersize=page.marker * 1.6, gid="predicted")
    axes.plot(
        found["measured"], place, "o", color=style.INK, markersize=page.marker * 0.9, zorder=4, gid="measured"
    )
    axes.set_yticks(place, found["run_id"].astype(str))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(error_label(metric))


def _entries(data: pd.DataFrame, looks: style.Looks, page: style.Page) -> list[list[key.Entry]]:
    names = [name for name in looks.colours if name in set(data["objective"])]
    dots = [key.dot_entry(page, name, filled=True, colour=looks.colours[name]) for name in names]
    return [dots, key.tower_entries(looks, page, list(data["image_tower"].unique()))]


def _told(rows: pd.DataFrame, label: str) -> str:
    """How far off the plan was: geometric mean and range of measured over planned."""
    ratios = rows["measured"] / rows["predicted"]
    mean = float(np.exp(np.log(ratios.astype(float)).mean()))
    return (
        f"measured {label.partition(' (')[0]}: {words.number(mean)} x planned ({words.counted(len(rows), 'run')}, "
        f"{words.number(float(ratios.min()))} to {words.number(float(ratios.max()))})"
    )
