"""Tables of the report: recorded numbers only, keys by which they sort, warnings with their runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from page_reader import read_page
from simulated_report import report_of
from simulated_sweep import SweepFolder, science

from analysis.load import load_sweep
from analysis.report.blocks import Cell, Table, column, figure_cell, text_column
from analysis.report.efficiency import efficiency_table
from analysis.report.runs import cost_table, warnings_of
from scaling.records import RunDirectory

# seconds of a run, an hour together
GOODPUT = {
    "initialisation": 360.0,
    "productive": 2700.0,
    "data_stall": 180.0,
    "checkpoint": 36.0,
    "evaluation": 144.0,
    "lost": 180.0,
}


def measure(folder: SweepFolder, run_id: str, **faults: Any) -> None:
    """Give a finished run's record what the meters add."""
    directory = RunDirectory(folder.path / run_id)
    record = directory.read_record()
    assert record is not None
    changes = {
        "model_flops_utilisation": 0.4123,
        "step_seconds": {"p50": 0.25, "p90": 0.5, "p99": 2.0},
        "goodput": GOODPUT,
    }
    measured = record.measured.model_copy(update=changes)
    directory.write_record(record.model_copy(update={"measured": measured, **faults}))


def cells(table: Table) -> dict[str, str]:
    """The only row of a table by its headings."""
    (row,) = table.rows
    return {one.name: cell.text for one, cell in zip(table.columns, row, strict=True)}


def test_what_a_run_inherited_from_its_trunk_is_a_column_of_its_own(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    assert "inherited device-hours" not in cells(cost_table(load_sweep(sweep_folder.path)))
    directory = RunDirectory(sweep_folder.path / run_id)
    record = directory.read_record()
    assert record is not None
    measured = record.measured.model_copy(update={"device_hours": 4.0, "inherited_device_hours": 3.0})
    directory.write_record(record.model_copy(update={"measured": measured}))
    table = cost_table(load_sweep(sweep_folder.path))
    assert cells(table)["inherited device-hours"] == "3.00" and "are spent once" in table.note


def test_a_run_has_its_utilisation_step_times_and_shares_of_the_wall_time(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    measure(sweep_folder, run_id)
    table = efficiency_table(load_sweep(sweep_folder.path))
    assert table is not None
    told = cells(table)
    assert told["run"] == run_id and told["MFU"] == "41.2 %"
    assert (told["p50"], told["p90"], told["p99"]) == ("0.250", "0.500", "2.00")
    shares = (told["goodput"], told["data stall"], told["lost"], told["hours"])
    assert shares == ("75 %", "5 %", "5 %", "1.00")


def test_runs_without_such_numbers_have_no_row_and_no_section(
    sweep_folder: SweepFolder, tmp_path: Path
) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    assert efficiency_table(load_sweep(sweep_folder.path)) is None
    page = read_page(report_of(sweep_folder, tmp_path))
    assert "efficiency" not in [one.attributes["id"] for one in page.all("section")]


def test_warnings_and_rollbacks_are_told_with_their_run(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    faults = {"num_rollbacks": 2, "skipped_batches": [1_250], "warnings": ["two ranks were slow"]}
    measure(sweep_folder, run_id, **faults)
    told = warnings_of(load_sweep(sweep_folder.path))
    assert told[0] == f"{run_id}: two ranks were slow"
    assert "Rolled back 2 times" in told[1] and "1,250" in told[1]


def test_a_number_that_was_not_recorded_is_a_dash_and_sorts_last(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "running")
    told = cost_table(load_sweep(sweep_folder.path))
    names = [f"{one.group} {one.name}".strip() for one in told.columns]
    cell = told.rows[0][names.index("measured device-hours")]
    assert (cell.text, cell.sort_key) == ("–", "")


def test_a_cell_sorts_by_its_number_or_its_text() -> None:
    assert figure_cell("1.2B", 1.2e9).sort_key == "1200000000.0"
    assert Cell(text="vit_b16").sort_key == "vit_b16"
    assert figure_cell("–", math.nan).sort_key == figure_cell("–", None).sort_key == ""


def test_neighbouring_columns_of_a_group_stand_under_one_heading() -> None:
    columns = (text_column("run"), column("lower", "95 %"), column("upper", "95 %"), column("hours"))
    assert Table(caption="", columns=columns, rows=()).groups == [("", 1), ("95 %", 2), ("", 1)]
