"""The page and its figures as files: one or several sweeps, the same bytes for the same sweep, errors that help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from page_reader import read_page, rows, section
from simulated_report import FEW_REFITS, WRITTEN, report_of
from simulated_sweep import SweepFolder, science

from analysis.load import load_sweep
from analysis.report import write_report
from analysis.varied import what_varied
from scaling.records import WriteError


def test_figures_stand_beside_the_page_in_every_format_and_width(small: SweepFolder, tmp_path: Path) -> None:
    write_report(small.path, tmp_path / "out" / "report.html", options=FEW_REFITS)
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    for width in ("", "_column"):
        stem = f"linear_probe_top1_versus_compute{width}"
        assert {f"{stem}.{end}" for end in ("pdf", "svg", "png", "csv", "json")} <= names


def test_the_same_sweep_gives_the_same_bytes(small: SweepFolder, tmp_path: Path) -> None:
    first, second = (report_of(small, tmp_path / name).read_bytes() for name in ("one", "two"))
    assert first == second


def test_several_sweeps_share_a_page_and_keep_their_own_answers(small: SweepFolder, tmp_path: Path) -> None:
    small.plan("Is it so?")
    other = SweepFolder(tmp_path / "runs" / "second")
    other.path.mkdir()
    other.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    output = tmp_path / "report.html"
    write_report([small.path, other.path], output, options=FEW_REFITS, save_figures=False, written=WRITTEN)
    page = read_page(output)
    overview = rows(page, "Question and answer of every sweep")
    assert [(row["sweep"], row["question"]) for row in overview] == [
        ("simulated", "Is it so?"),
        ("second", "not recorded"),
    ]
    assert "all runs are of clip" in overview[1]["answer"]
    assert section(page, "sweep-1-simulated-answer").all("h3") and section(page, "sweep-2-second-runs")
    identifiers = [one.attributes["id"] for one in page.walk() if "id" in one.attributes]
    assert len(identifiers) == len(set(identifiers))
    levels = [int(one.tag[1]) for one in page.all("h1", "h2", "h3", "h4", "h5")]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_figures_of_several_sweeps_do_not_overwrite_each_other(small: SweepFolder, tmp_path: Path) -> None:
    other = SweepFolder(tmp_path / "elsewhere" / "simulated")
    other.add(science("clip", "vit_nano8", 8_192), "done", error=0.5)
    write_report([small.path, other.path], tmp_path / "out" / "report.html", options=FEW_REFITS)
    folders = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert folders == ["sweep-1-simulated", "sweep-2-simulated"]


def test_the_planners_table_of_what_varied_is_shown_if_the_plan_covers_the_runs(
    small: SweepFolder, tmp_path: Path
) -> None:
    small.plan(varied=[{"field": "learning_rate", "kind": "axis", "values": [0.25]}])
    assert "learning_rate" in section(read_page(report_of(small, tmp_path)), "varied").text
    small.add(science("clip", "vit_tiny8", 65_536), "queued")
    assert "learning_rate" not in section(read_page(report_of(small, tmp_path)), "varied").text


def test_without_a_plan_what_varied_is_computed_from_the_runs(small: SweepFolder) -> None:
    kinds = {row["field"]: row["kind"] for row in what_varied(load_sweep(small.path))}
    assert kinds == {
        "objective": "axis",
        "image_tower": "axis",
        "text_tower": "derived (follows objective and image_tower)",
        "samples_seen": "constant",
        "seed": "constant",
        "global_batch": "constant",
        "precision": "constant",
    }


def test_what_a_sweep_was_made_of_is_read_from_its_plan(small: SweepFolder, tmp_path: Path) -> None:
    path = small.path / "plan.json"
    plan = json.loads(path.read_text()) | {"sweep_file": "mine/quick.yaml", "settings": ["seeds=[0]"]}
    path.write_text(json.dumps(plan))
    text = section(read_page(report_of(small, tmp_path)), "reproduce").text
    assert "launch mine/quick.yaml --set 'seeds=[0]'" in text and "is assumed" not in text


def test_an_output_that_is_not_html_is_refused(small: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends in .html"):
        write_report(small.path, tmp_path / "report")


def test_a_sweep_given_twice_or_missing_is_refused(small: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given twice"):
        write_report([small.path, small.path], tmp_path / "report.html")
    with pytest.raises(ValueError, match="no such folder"):
        write_report(tmp_path / "nothing", tmp_path / "report.html")
    with pytest.raises(ValueError, match="name at least one"):
        write_report([], tmp_path / "report.html")


def test_an_output_folder_that_cannot_exist_is_a_typed_error(small: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="choose another folder"):
        report_of(small, tmp_path / "file")


def test_the_report_imports_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, analysis.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
