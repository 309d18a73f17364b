"""What runs took beside what was planned for them: device-hours, peak memory and data read."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.drawing import Drawing
from analysis.figures.panels import MARKER_SIZE
from analysis.old_study import objectives_of
from analysis.wording import num_runs, number

LEAST_FACTOR = 4.0  # that the axes span, so that a plan that held looks like one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Quantity:
    name: str  # planned_<name> and measured_<name> are the columns
    label: str
    unit: float  # by which both are divided
    sources: tuple[str, ...] = ()  # of the measurement, which are comparable; () = any


QUANTITIES = (
    _Quantity(name="device_hours", label="device-hours", unit=1.0),
    _Quantity(
        name="peak_memory_bytes", label="peak memory of a device (GB)", unit=1e9, sources=("allocator",)
    ),
    _Quantity(name="data_bytes", label="data read (GB)", unit=1e9),
)


def plan_and_reality(table: pd.DataFrame) -> Drawing | None:
    """Measured against planned, a panel per quantity and a marker per finished run; None where nothing was measured."""
    panels = [(quantity, runs) for quantity in QUANTITIES if len(runs := _comparable(table, quantity))]
    if not panels:
        return None
    with style.house_style():
        figure = style.new_figure(4.6 * len(panels) + 1.6, 4.2)
        for index, (quantity, runs) in enumerate(panels):
            _draw(figure.add_subplot(1, len(panels), index + 1), quantity, runs, table)
        figure.legend(handles=_handles(table), loc="outside right upper", alignment="left")
    columns = [f"{side}_{quantity.name}" for quantity, _ in panels for side in ("planned", "measured")]
    shown = sorted({run_id for _, runs in panels for run_id in runs["run_id"]})
    return Drawing(
        name="plan_and_reality",
        title="Plan and reality",
        caption=_caption(panels, table),
        figure=figure,
        data=table.loc[table["run_id"].isin(shown), ["run_id", "objective", "image_tower", *columns]],
    )


def _comparable(table: pd.DataFrame, quantity: _Quantity) -> pd.DataFrame:
    """run_id, objective, image_tower, planned, measured of the runs that have both, in the unit of the axes."""
    columns = [f"planned_{quantity.name}", f"measured_{quantity.name}"]
    if not {*columns, *(("measured_memory_source",) if quantity.sources else ())} <= {*table.columns}:
        return table.iloc[:0]
    runs = table[table["measured_memory_source"].isin(quantity.sources)] if quantity.sources else table
    runs = runs.dropna(subset=columns)
    runs = runs[(runs[columns] > 0).all(axis=1)]
    figures = {side: runs[column].astype(float) / quantity.unit for side, column in zip(("x", "y"), columns)}
    return runs[["run_id", "objective", "image_tower"]].assign(planned=figures["x"], measured=figures["y"])


def _draw(axes: Axes, quantity: _Quantity, runs: pd.DataFrame, table: pd.DataFrame) -> None:
    colours, markers = style.objective_colours(objectives_of(table)), style.tower_markers(table)
    limits = style.padded_log_limits([*runs["planned"], *runs["measured"]], least_factor=LEAST_FACTOR)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.plot(limits, limits, color="#777777", linestyle=(0, (4, 3)), linewidth=1)
    for run in runs.to_dict("records"):
        marker = markers[str(run["image_tower"])]
        axes.plot(
            run["planned"],
            run["measured"],
            marker=marker,
            markersize=MARKER_SIZE * style.marker_scale(marker),
            color=colours[str(run["objective"])],
            markeredgecolor="white",
            markeredgewidth=0.9,
        )
    axes.set(xlabel=f"planned {quantity.label}", ylabel=f"measured {quantity.label}")
    for which in ("x", "y"):
        style.label_log_axis(axes, which, scientific=limits[0] < 1e-3)


def _handles(table: pd.DataFrame) -> list[Line2D]:
    """Objectives by colour, towers by marker, and the line of a plan that held."""
    colours = style.objective_colours(objectives_of(table))
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=colour, label=name)
        for name, colour in colours.items()
    ]
    for tower, marker in style.tower_markers(table).items():
        size = MARKER_SIZE * style.marker_scale(marker)
        handles.append(
            Line2D([], [], linestyle="none", marker=marker, markersize=size, color="#555555", label=tower)
        )
    return [*handles, Line2D([], [], color="#777777", linestyle=(0, (4, 3)), linewidth=1, label="as planned")]


def _caption(panels: Sequence[tuple[_Quantity, pd.DataFrame]], table: pd.DataFrame) -> str:
    """How far off the plan was: geometric mean and range of measured over planned."""
    sentences = [
        "One marker per finished run; on the dashed line a run took what was planned when it was launched."
    ]
    for quantity, runs in panels:
        ratios = runs["measured"] / runs["planned"]
        mean = float(np.exp(np.log(ratios).mean()))
        sentences.append(
            f"Measured {quantity.label.partition(' (')[0]}: {number(mean)} x planned ({num_runs(len(runs))}, "
            f"{number(float(ratios.min()))} to {number(float(ratios.max()))})."
        )
    sentences += _caveats({quantity.name for quantity, _ in panels}, table)
    sentences.append("The next `scaling plan` of this sweep is corrected by the ratios of hours and memory.")
    return " ".join(sentences)


def _caveats(shown: Collection[str], table: pd.DataFrame) -> list[str]:
    """What keeps a panel from comparing like with like, and why runs are left out of it."""
    caveats = []
    if "peak_memory_bytes" in shown:
        caveats.append(
            "Memory is the device's: planned with an allowance for fragmentation, which an allocator does not count; "
            "what is offloaded to the host is in neither."
        )
    sources = table.get("measured_memory_source", pd.Series(dtype=object)).dropna()
    left_out = int((~sources.isin(("", "allocator"))).sum())
    if left_out:
        caveats.append(
            f"Memory is compared where an allocator counted it: {num_runs(left_out)} measured a resident set instead, "
            "in which are Python, its libraries, the loader's memory and all that is offloaded."
        )
    if "data_bytes" in shown:
        caveats.append(
            "Data read is planned by the mean size of a sample in the shards' files and measured sample by sample, "
            "without the files' tables of contents and after unpacking."
        )
    return caveats
