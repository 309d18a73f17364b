"""Predicted beside measured: what a report shows of how well the plan held."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from simulated_sweep import SweepFolder, science

from analysis.load import load_sweep
from analysis.plan_reality import plan_and_reality
from analysis.report import write_report


def _figure_of(table: pd.DataFrame) -> Figure:
    drawing = plan_and_reality(table)
    assert drawing is not None
    return drawing.figure


@pytest.fixture
def table(sweep_folder: SweepFolder) -> pd.DataFrame:
    """Four finished runs, each 10 % slower than planned, and one that waits."""
    for objective in ("superclass", "clip"):
        for tower in ("vit_nano8", "vit_micro8"):
            sweep_folder.add(science(objective, tower, 8_192), "done", error=0.5)
    sweep_folder.add(science("clip", "vit_tiny8", 8_192), "running")
    sweep_folder.plan()
    return load_sweep(sweep_folder.path)


def test_every_finished_run_stands_at_its_planned_and_measured_device_hours(table: pd.DataFrame) -> None:
    drawing = plan_and_reality(table)
    assert drawing is not None and len(drawing.data) == 4
    (axes,) = drawing.figure.axes
    shown = sorted(
        (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1
    )
    done = table[table["status"] == "done"]
    assert shown == sorted(zip(done["planned_device_hours"], done["measured_device_hours"], strict=True))
    assert "1.10 x planned (4 runs, 1.10 to 1.10)" in drawing.caption


def test_memory_is_compared_only_where_an_allocator_counted_it(table: pd.DataFrame) -> None:
    table["planned_peak_memory_bytes"] = 30e9
    table["measured_memory_source"] = "resident set"
    resident = plan_and_reality(table)
    table["measured_memory_source"] = "allocator"
    allocated = plan_and_reality(table)
    assert resident is not None and allocated is not None
    assert (len(resident.figure.axes), len(allocated.figure.axes)) == (1, 2)
    assert (
        "Memory is compared where an allocator counted it: 5 runs measured a resident set" in resident.caption
    )
    assert "what is offloaded to the host is in neither" in allocated.caption
    assert "resident set" not in allocated.caption
    assert "peak memory of a device: 0.0300 x planned" in allocated.caption


def test_the_data_that_was_read_stands_beside_what_was_planned(table: pd.DataFrame) -> None:
    assert len(_figure_of(table).axes) == 1, "no record holds it"
    table["planned_data_bytes"], table["measured_data_bytes"] = 20e9, 19e9
    figure = _figure_of(table)
    _, axes = figure.axes
    assert axes.get_xlabel() == "planned data read (GB)"
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[1:]} == {(20.0, 19.0)}
    drawing = plan_and_reality(table)
    assert drawing is not None and "Measured data read: 0.950 x planned" in drawing.caption


def test_a_sweep_without_a_finished_run_has_no_such_figure(table: pd.DataFrame) -> None:
    assert plan_and_reality(table[table["status"] != "done"]) is None
    assert plan_and_reality(table.iloc[:0]) is None


def test_the_report_shows_it(table: pd.DataFrame, sweep_folder: SweepFolder, tmp_path: Path) -> None:
    page = write_report(sweep_folder.path, tmp_path / "report.html").read_text()
    assert "Plan and reality" in page
    assert (tmp_path / "figures" / "plan_and_reality.csv").exists()
