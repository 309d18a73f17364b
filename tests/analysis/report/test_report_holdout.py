"""The holdout on the page: sealed runs show in no number; opened ones are predicted by laws that never saw them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from page_reader import Element, read_page, rows, section
from simulated_report import FEW_REFITS, WRITTEN, add_runs, report_of
from simulated_sweep import SweepFolder, planned_cost, science
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from analysis.load import load_sweep
from analysis.report.findings import SweepFindings, find
from analysis.report.page import compose
from analysis.report.pictures import training_curves
from analysis.selection.holdout import blinded, unseal
from analysis.study.study import study_metric
from analysis.tensorboard import write_tensorboard
from scaling.cli import app


@pytest.fixture
def with_holdout(sweep_folder: SweepFolder) -> tuple[SweepFolder, list[str]]:
    """Finished runs whose largest cell of each objective is set aside."""
    add_runs(sweep_folder)
    sweep_folder.plan()
    held = [f"{objective}-vit_tiny8-65536-s0" for objective in ("clip", "superclass")]
    path = sweep_folder.path / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"holdout": held}))
    return sweep_folder, held


def test_sealed_runs_enter_no_fit_and_the_page_says_so(
    with_holdout: tuple[SweepFolder, list[str]], tmp_path: Path
) -> None:
    folder, held = with_holdout
    page = read_page(report_of(folder, tmp_path, metric="linear_probe.top1"))
    assert "2 runs of the holdout are sealed and entered nothing" in section(page, "answer").text
    assert "2 are sealed: no number on this page has seen them." in section(page, "holdout").text
    ledger = rows(page, "Ledger: every rule that decides which runs are fitted")
    (sealed,) = [row for row in ledger if row["rule"] == "sealed"]
    assert sealed["runs"] == "2" and all(run_id in sealed["which runs"] for run_id in held)


@pytest.mark.slow
def test_opened_runs_are_told_with_who_opened_them_and_how_they_were_predicted(
    with_holdout: tuple[SweepFolder, list[str]], tmp_path: Path
) -> None:
    folder, held = with_holdout
    sealed = dataclasses.replace(FEW_REFITS, sealed=frozenset(held))
    blind = study_metric(load_sweep(folder.path), "linear_probe.top1", sealed)
    opening = unseal(folder.path, held, held)
    findings = find(folder.path, "linear_probe.top1", FEW_REFITS)
    assert len(findings.main.selection.points) == 24 and not findings.holdout.sealed
    path = tmp_path / "report.html"
    path.write_text(compose([findings], WRITTEN.isoformat())[0], encoding="utf-8")
    page = read_page(path)
    assert f"{opening.opened_at}: opened by {opening.opened_by}" in section(page, "holdout").text
    told = {row["run"]: row for row in rows(page, "The holdout: predicted without it, and measured")}
    assert set(told) == set(held)
    for row in told.values():
        inside = (
            float(row["predicted lower"]) <= float(row["measured error"]) <= float(row["predicted upper"])
        )
        assert row["measured lies"] == ("inside" if inside else "outside")
        fit = blind.sides[row["objective"]].fit
        assert fit is not None and not set(fit.observations.run_ids) & set(held)
        predicted = fit.found.predict(**covariates_of(row["objective"], fit.form.covariates))
        assert float(row["predicted error"]) == pytest.approx(float(predicted), rel=2e-3)


def covariates_of(objective: str, names: tuple[str, ...]) -> dict[str, float]:
    """Those of the cell that is set aside."""
    cost = planned_cost(science(objective, "vit_tiny8", 65_536))
    known = {
        "parameters": cost.parameters["image_tower"],
        "samples_seen": 65_536,
        "train_flops": cost.train_flops,
    }
    return {name: float(known[name]) for name in names}


def rescored(folder: SweepFolder, run_ids: list[str], score: float) -> None:
    """Other scores, final losses and training losses in the records of these runs."""
    for run_id in run_ids:
        path = folder.path / run_id / "record.json"
        record = json.loads(path.read_text()) | {"final_loss": score}
        for evaluation in record["evaluations"]:
            evaluation["metrics"] |= {
                name: score for name in evaluation["metrics"] if not name.endswith("chance")
            }
        path.write_text(json.dumps(record))
        steps = [{"step": step, "samples_seen": step * 256, "loss": score / step} for step in range(1, 9)]
        lines = "".join(json.dumps(step) + "\n" for step in steps)
        (folder.path / run_id / "metrics.jsonl").write_text(lines)


@pytest.mark.slow
def test_the_page_and_its_events_are_the_same_whatever_the_sealed_runs_scored(
    with_holdout: tuple[SweepFolder, list[str]], tmp_path: Path
) -> None:
    """Tables, figures, their alternative texts and TensorBoard: nothing that is written depends on a sealed score."""
    folder, held = with_holdout
    pages, events = [], []
    for score in (0.123457, 0.765432):
        rescored(folder, held, score)
        written = write_tensorboard(folder.path, blinded(load_sweep(folder.path), held))
        events.append(
            {str(file.relative_to(written)): file.read_bytes() for file in written.rglob("events*")}
        )
        pages.append(report_of(folder, tmp_path).read_text())
    assert pages[0] == pages[1]
    assert events[0] == events[1]


def test_the_command_writes_no_sealed_score_to_tensorboard(
    with_holdout: tuple[SweepFolder, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, held = with_holdout
    monkeypatch.setattr("analysis.report.page.write_report", lambda *_, **__: "no page")
    (tmp_path / "sweep.yaml").write_text("name: simulated\nquestion: q\n")
    arguments = ["report", str(tmp_path / "sweep.yaml"), "--tensorboard"]
    result = CliRunner().invoke(app, [*arguments, "--runs", str(folder.path.parent)])
    assert result.exit_code == 0, result.output
    reader = EventAccumulator(str(folder.path / "tensorboard" / "runs" / held[0]))
    reader.Reload()
    tags = [*reader.Tags()["scalars"], *reader.Tags()["tensors"]]
    assert tags and not [tag for tag in tags if tag.startswith("scores/")]


@pytest.mark.slow
def test_no_score_or_training_curve_of_a_sealed_run_stands_anywhere_on_the_page(
    with_holdout: tuple[SweepFolder, list[str]], tmp_path: Path
) -> None:
    folder, held = with_holdout
    scores = load_sweep(folder.path).set_index("run_id").loc[held, "linear_probe.top1"]
    for path in folder.path.glob("*/point.json"):
        line = json.dumps({"samples_seen": 256, "loss": 3.0})
        (path.parent / "metrics.jsonl").write_text(f"{line}\n")
    findings = find(folder.path, "linear_probe.top1", FEW_REFITS)
    told = {row["run"]: row for row in rows(page_of(findings, tmp_path), "Scores of the runs")}
    assert {run_id: told[run_id]["linear_probe top1"] for run_id in held} == dict.fromkeys(held, "sealed")
    assert not {f"{score:.3f}" for score in scores} & {cell for row in told.values() for cell in row.values()}
    assert not set(training_curves(findings)[0]["run_id"]) & set(held)
    unseal(folder.path, held, held)
    opened = find(folder.path, "linear_probe.top1", FEW_REFITS)
    told = {row["run"]: row for row in rows(page_of(opened, tmp_path), "Scores of the runs")}
    assert [float(told[run_id]["linear_probe top1"]) for run_id in held] == pytest.approx(
        list(scores), abs=5e-4
    )
    assert set(held) <= set(training_curves(opened)[0]["run_id"])


def page_of(findings: SweepFindings, folder: Path) -> Element:
    """The page of what was found."""
    path = folder / "report.html"
    path.write_text(compose([findings], WRITTEN.isoformat())[0], encoding="utf-8")
    return read_page(path)


@pytest.mark.parametrize("line", ['{"open', '{"open": 1}', "[1]"])
def test_a_record_of_openings_that_cannot_be_read_is_named_with_its_line(
    with_holdout: tuple[SweepFolder, list[str]], line: str
) -> None:
    folder, held = with_holdout
    unseal(folder.path, held, held)
    with open(folder.path / "unsealed.jsonl", "a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(ValueError, match="unsealed.jsonl, line 2: not the record of an opening"):
        find(folder.path, "linear_probe.top1", FEW_REFITS)
