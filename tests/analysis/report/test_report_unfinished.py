"""Sweeps at every stage give a page that opens and says what is missing; no law without defence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from page_reader import read_page, rows, section
from simulated_report import add_runs, report_of
from simulated_sweep import SweepFolder, science

from scaling.records import Evaluation, RunDirectory


def test_an_empty_sweep_folder_gives_a_page_that_says_so(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    page = read_page(report_of(sweep_folder, tmp_path))
    assert "Answer: There is none yet: the sweep folder holds no run." in page.text
    assert page.all("figure") == []


@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_a_sweep_in_progress_says_what_is_missing(
    sweep_folder: SweepFolder, tmp_path: Path, num_done: int
) -> None:
    for index, samples in enumerate((8_192, 16_384, 32_768, 65_536)):
        done = index < num_done
        point = science("superclass", "vit_nano8", samples)
        sweep_folder.add(point, "done" if done else "running", error=0.9 - index / 10 if done else None)
    text = section(read_page(report_of(sweep_folder, tmp_path)), "answer").text
    assert "Nothing is compared, as all runs are of superclass" in text
    assert "Missing, or not to be compared." in text and f"{4 - num_done} runs running" in text
    assert "o law is stated" in text and "Fitted to" not in text
    assert num_done != 1 or "1 point, at least" in text or "1 distinct value of" in text


def test_one_objective_alone_gets_its_law_and_no_comparison(
    sweep_folder: SweepFolder, tmp_path: Path
) -> None:
    add_runs(sweep_folder, ("superclass",))
    page = read_page(report_of(sweep_folder, tmp_path))
    assert "Nothing is compared, as all runs are of superclass" in section(page, "answer").text
    assert "Fitted to 12 runs with" in section(page, "answer").text
    assert "No ratio is stated" in section(page, "comparison").text
    what = "the least error at the largest compute"
    assert rows(page, f"Influence: by what {what} is multiplied when a run, or its cell, is left out")


def test_only_failures_are_named_with_their_reasons(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    names = [
        sweep_folder.add(science(objective, "vit_tiny8", 8_192), "oom", reason="3 GB asked, 2 GB free")
        for objective in ("superclass", "clip")
    ]
    page = read_page(report_of(sweep_folder, tmp_path))
    failures = rows(page, "Failed runs")
    assert [(row["run"], row["failure"], row["reason"]) for row in failures] == [
        (name, "oom", "3 GB asked, 2 GB free") for name in names
    ]
    assert f"{names[0]} failed (oom): 3 GB asked, 2 GB free." in section(page, "answer").text
    ledger = rows(page, "Ledger: every rule that decides which runs are fitted")
    assert ("failed", "2") in [(row["rule"], row["runs"]) for row in ledger]


def test_a_half_finished_sweep_counts_the_runs_that_were_not_started(
    small: SweepFolder, tmp_path: Path
) -> None:
    shutil.rmtree(small.path / "clip-vit_micro8-8192-s0")
    assert "4 runs: 3 done, 1 not started." in read_page(report_of(small, tmp_path)).text


def test_a_damaged_metrics_file_costs_its_own_curve_alone_and_is_named(
    small: SweepFolder, tmp_path: Path
) -> None:
    for path in sorted(small.path.glob("*/point.json")):
        (path.parent / "metrics.jsonl").write_text('{"samples_seen": 256, "loss": 3.0}\n' * 3)
    damaged = small.path / "clip-vit_nano8-8192-s0" / "metrics.jsonl"
    damaged.write_text('{"samples_seen": 256, "loss": 3.0}\n{"half\n{"samples_seen": 512, "loss": 2.0}\n')
    curves = section(read_page(report_of(small, tmp_path)), "curves")
    assert f"clip-vit_nano8-8192-s0 has no curve: {damaged}, line 2: not JSON" in curves.text
    assert len(curves.all("figure")) == 1


def test_a_sweep_of_losses_alone_answers_with_losses(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    add_runs(sweep_folder, ("superclass",))
    for path in sweep_folder.path.glob("*/record.json"):
        directory = RunDirectory(path.parent)
        record = directory.read_record()
        assert record is not None
        losses = [one for one in record.evaluations if one.task == "held_out_loss"]
        directory.write_record(record.model_copy(update={"evaluations": losses}))
    page = read_page(report_of(sweep_folder, tmp_path))
    assert page.all("h2")[0].text == "The answer: held-out loss (nats)"
    assert "Fitted to 12 runs with additive_surface" in section(page, "answer").text


def test_planned_points_that_were_never_started_are_counted(small: SweepFolder, tmp_path: Path) -> None:
    for path in sorted(small.path.glob("clip-vit_micro8-*")):
        path.rename(tmp_path / path.name)
    assert "Planned, but without a run directory: 1 run." in read_page(report_of(small, tmp_path)).text


def test_a_reason_with_markup_is_shown_and_not_obeyed(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "error", reason="<script>alert(1)</script>")
    path = report_of(sweep_folder, tmp_path)
    assert "<script>alert" not in path.read_text() and "<script>alert(1)</script>" in read_page(path).text


def test_a_metric_that_no_run_has_is_said_to_be_missing(small: SweepFolder, tmp_path: Path) -> None:
    page = read_page(report_of(small, tmp_path, metric="captioning.cider"))
    assert "no finished run of superclass and clip has a captioning error (1 - cider)" in page.text.lower()


def test_scores_by_two_protocols_within_an_objective_are_warned_of(
    small: SweepFolder, tmp_path: Path
) -> None:
    directory = RunDirectory(next(iter(sorted(small.path.glob("clip-*")))))
    record = directory.read_record()
    assert record is not None
    changed: list[Evaluation] = [one.model_copy(update={"protocol": "other@2"}) for one in record.evaluations]
    directory.write_record(record.model_copy(update={"evaluations": changed}))
    text = section(read_page(report_of(small, tmp_path)), "answer").text
    assert "linear_probe of clip was measured by 2 protocols: its scores do not all compare." in text
    assert "of superclass was measured" not in text
