"""What the report says of utilisation, goodput and warnings: recorded numbers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulated_sweep import SweepFolder, science

from analysis.efficiency import efficiency_table, warnings_of
from analysis.load import load_sweep
from analysis.report import write_report
from analysis.varied import what_varied
from scaling.records import RunDirectory

GOODPUT = {
    "initialisation": 360.0,
    "productive": 2700.0,
    "data_stall": 180.0,
    "checkpoint": 36.0,
    "evaluation": 144.0,
    "lost": 180.0,
}  # an hour


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


def test_a_run_has_its_utilisation_step_times_and_shares_of_the_wall_time(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    measure(sweep_folder, run_id)
    table = efficiency_table(load_sweep(sweep_folder.path))
    assert table is not None
    (row,) = table.rows
    cells = dict(zip((name for _, name in table.headings), row, strict=True))
    assert cells["run"] == run_id and cells["MFU"] == "41.2 %"
    assert (cells["p50"], cells["p90"], cells["p99"]) == ("0.250", "0.500", "2.00")
    assert (cells["goodput"], cells["data stall"], cells["lost"], cells["hours"]) == (
        "75 %",
        "5 %",
        "5 %",
        "1.00",
    )


def test_runs_without_such_numbers_have_no_row_and_no_section(
    sweep_folder: SweepFolder, tmp_path: Path
) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    sweep_folder.add(science("clip", "vit_micro8", 8_192), "running")
    assert efficiency_table(load_sweep(sweep_folder.path)) is None
    page = write_report(sweep_folder.path, tmp_path / "report.html").read_text()
    assert "use of devices and time" not in page and "Warnings of the records" not in page


def test_the_page_shows_efficiency_warnings_and_rollbacks(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    sweep_folder.add(science("superclass", "vit_nano8", 8_192), "running")
    told = "checkpoint of step 8 was damaged"
    measure(sweep_folder, run_id, warnings=[told], num_rollbacks=2, skipped_batches=[7, 1_234])
    assert [
        (run, text.startswith("Rolled back 2 times"))
        for run, text in warnings_of(load_sweep(sweep_folder.path))
    ] == [
        (run_id, False),
        (run_id, True),
    ]
    page = write_report(sweep_folder.path, tmp_path / "report.html").read_text()
    assert told in page and "left out: 7, 1,234." in page and "41.2 %" in page


def test_what_was_measured_is_no_science_that_varied(sweep_folder: SweepFolder) -> None:
    for seed in (0, 1):
        run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192, seed), "done", error=0.5)
        measure(sweep_folder, run_id, warnings=[f"warning {seed}"], num_rollbacks=seed)
    varied = {row["field"] for row in what_varied(load_sweep(sweep_folder.path)) if row["kind"] != "constant"}
    assert varied == {"seed"}
