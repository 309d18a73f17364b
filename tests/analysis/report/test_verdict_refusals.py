"""What `scaling fit`, `compare` and `report` refuse, and in which words: no traceback, no page of nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_reader import read_page, section
from simulated_sweep import SweepFolder, science

from scaling.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    sweep_folder: SweepFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`scaling` as a shell runs it on a sweep folder: exit status, output and errors on one line."""
    (tmp_path / "sweep.yaml").write_text("name: simulated\nquestion: q\n")

    def run(verb: str, *arguments: str) -> tuple[int, str, str]:
        places = ["--runs", str(sweep_folder.path.parent)]
        where = [argument.replace("SWEEP", str(tmp_path / "sweep.yaml")) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["scaling", verb, *where, *places])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(told.out.split()), " ".join(told.err.split())

    return run


def add_cells(folder: SweepFolder, *objectives: str) -> None:
    """Two finished runs of each objective."""
    for objective in objectives:
        for tower in ("vit_nano8", "vit_micro8"):
            folder.add(science(objective, tower, 8_192), "done", error=0.5)
    folder.plan()


@pytest.mark.parametrize("verb", ["fit", "compare", "report"])
def test_a_metric_that_no_run_recorded_is_refused_with_the_one_that_is_meant(
    command: Command, sweep_folder: SweepFolder, verb: str
) -> None:
    add_cells(sweep_folder, "superclass", "clip")
    status, _, told = command(verb, "SWEEP", "--metric", "linear_prob.top1")
    assert status == 2 and not (sweep_folder.path / "report.html").exists()
    assert "error: metric 'linear_prob.top1': no finished run recorded it. Did you mean" in told
    assert "'linear_probe.top1'? Recorded: linear_probe.top1, held_out_loss.loss" in told


def test_an_asked_metric_is_no_mistake_while_no_run_has_recorded_any(
    command: Command, sweep_folder: SweepFolder
) -> None:
    sweep_folder.plan()
    assert command("report", "SWEEP", "--metric", "zero_shot.top1", "--no-figures")[0] == 0


def test_fit_says_that_there_is_no_run(command: Command) -> None:
    assert command("fit", "SWEEP")[:2] == (0, "linear_probe.top1: no run to fit a law to.")


def test_an_output_that_cannot_be_written_is_one_line_and_found_before_the_work(
    command: Command, sweep_folder: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_cells(sweep_folder, "superclass", "clip")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    monkeypatch.setattr("analysis.report.page.find", lambda *_: pytest.fail("the runs were studied first"))
    status, _, told = command("report", "SWEEP", "--output", str(tmp_path / "file" / "report.html"))
    assert status == 2 and told.startswith(f"error: {tmp_path / 'file'}: cannot be created (File exists)")
    status, _, told = command("report", "SWEEP", "--output", str(tmp_path / "folder.html"))
    assert status == 2 and "folder.html: is a folder" in told


def test_a_sweep_that_was_never_launched_is_refused_without_a_trace(
    command: Command, sweep_folder: SweepFolder
) -> None:
    sweep_folder.path.rmdir()
    status, _, told = command("report", "SWEEP")
    assert status == 2 and "no such folder" in told and not sweep_folder.path.exists()


def test_unsealing_a_sweep_without_a_holdout_is_refused(command: Command, sweep_folder: SweepFolder) -> None:
    add_cells(sweep_folder, "clip")
    status, _, told = command("report", "SWEEP", "--unseal")
    assert status == 2 and "--unseal: no plan in" in told and "names a holdout" in told
    assert not (sweep_folder.path / "unsealed.jsonl").exists()


@pytest.mark.parametrize("verb", ["fit", "compare", "report"])
def test_results_of_others_without_a_mapping_are_sent_to_one(
    command: Command, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "others.csv").write_text("model,top1\nS,50\n")
    status, _, told = command(verb, str(tmp_path / "others.csv"))
    assert status == 2 and "others.csv: is no sweep file" in told and "--mapping" in told


def test_a_report_compares_the_two_objectives_that_are_asked_for_and_says_how_to_repeat_it(
    command: Command, sweep_folder: SweepFolder
) -> None:
    add_cells(sweep_folder, "superclass", "clip", "siglip")
    status, _, told = command(
        "report", "SWEEP", "--no-figures", "--between", "siglip,clip", "--refits", "100"
    )
    assert status == 0, told
    page = read_page(sweep_folder.path / "report.html")
    assert "siglip and clip cannot be compared" in section(page, "answer").text
    assert "--between siglip,clip --refits 100" in section(page, "reproduce").text
    status, _, told = command("report", "SWEEP", "--between", "siglip,lit")
    assert status == 2 and "to compare siglip and lit: name two of superclass, clip, siglip" in told
