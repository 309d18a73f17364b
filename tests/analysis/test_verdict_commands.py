"""`scaling fit`, `compare`, `design` and `report` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated_sweep import SweepFolder, add_surface, science
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner, Result

from scaling.cli import app

Command = Callable[..., Result]


def seal_two(sweep_folder: SweepFolder) -> list[str]:
    """Seal the largest run of each objective; their run ids."""
    path = sweep_folder.path / "plan.json"
    sealed = ["clip-vit_tiny8-32768-s0", "superclass-vit_tiny8-32768-s0"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"holdout": sealed}))
    return sealed


@pytest.fixture
def command(sweep_folder: SweepFolder, tmp_path: Path) -> Command:
    """A `scaling` command on a finished sweep of two objectives."""
    add_surface(sweep_folder, noise=0.01)
    sweep_folder.plan(question="Which objective scales better?")
    (tmp_path / "sweep.yaml").write_text("name: simulated\nquestion: q\n")

    def run(*arguments: str) -> Result:
        where = [argument.replace("SWEEP", str(tmp_path / "sweep.yaml")) for argument in arguments]
        return CliRunner().invoke(app, [*where, "--runs", str(sweep_folder.path.parent)])

    return run


def test_fit_prints_a_law_or_its_refusal_for_every_objective(command: Command) -> None:
    result = command("fit", "SWEEP", "--metric", "linear_probe.top1", "--refits", "100")
    assert result.exit_code == 0, result.output
    assert "linear_probe.top1, superclass" in result.output and "linear_probe.top1, clip" in result.output
    assert "bounded_surface" in result.output and "lowest AICc" in result.output


def test_compare_prints_the_verdict_in_one_sentence_first(command: Command) -> None:
    result = command("compare", "SWEEP", "--metric", "linear_probe.top1", "--refits", "100")
    assert result.exit_code == 0, result.output
    first = " ".join(result.output.splitlines()[:2])
    assert "superclass" in first and "clip's linear probe error" in first and "FLOPs" in first
    assert "drawn jointly" in result.output


def test_every_rule_that_left_out_runs_is_told_beside_the_laws(
    command: Command, sweep_folder: SweepFolder
) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 1_024), "diverged", reason="loss is nan")
    seal_two(sweep_folder)
    output = command("fit", "SWEEP", "--metric", "linear_probe.top1", "--refits", "100").output
    assert "2 runs left out under 'sealed'" in output and "1 runs left out under 'failed'" in output


def test_fit_sees_a_holdout_only_after_unsealing_on_record(
    command: Command, sweep_folder: SweepFolder
) -> None:
    sealed = seal_two(sweep_folder)
    asked = ("SWEEP", "--metric", "linear_probe.top1", "--refits", "100")
    assert "under 'sealed'" in command("compare", *asked).output
    assert not (sweep_folder.path / "unsealed.jsonl").exists()
    result = command("fit", *asked, "--unseal")
    assert result.exit_code == 0 and "opened by" in result.output and "'sealed'" not in result.output
    (line,) = (sweep_folder.path / "unsealed.jsonl").read_text().splitlines()
    assert json.loads(line)["run_ids"] == sealed
    assert "'sealed'" not in command("compare", *asked).output


def test_results_of_others_have_no_holdout_to_open(command: Command) -> None:
    result = command("fit", "SWEEP", "--mapping", "laion_openclip", "--unseal")
    assert isinstance(result.exception, ValueError) and "no holdout" in str(result.exception)


def test_p_values_of_several_metrics_are_adjusted_for_their_number(command: Command) -> None:
    output = command("compare", "SWEEP", "--refits", "100").output
    assert "p (Holm)" in output and "zero_shot.top1" in output


def test_design_proposes_pairs_within_the_budget(command: Command) -> None:
    result = command("design", "SWEEP", "--budget", "1 device-hours")
    assert result.exit_code == 0, result.output
    assert "of 1 device-hours" in result.output and "now" in result.output


def test_design_without_a_sweep_compares_shapes_of_a_first_study() -> None:
    result = CliRunner().invoke(app, ["design"])
    assert result.exit_code == 0, result.output
    assert "triangle" in result.output and "the paper's 5 cells" in result.output


def test_a_budget_in_money_is_refused_with_what_to_do(command: Command) -> None:
    result = command("design", "SWEEP", "--budget", "100 usd")
    assert isinstance(result.exception, ValueError) and "device-hours" in str(result.exception)


def tags_of(folder: Path) -> list[str]:
    """What TensorBoard finds in a run's folder."""
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return list(reader.Tags()["tensors"])


@pytest.mark.slow
def test_report_opens_a_holdout_only_when_asked_and_on_record(
    command: Command, sweep_folder: SweepFolder
) -> None:
    sealed = seal_two(sweep_folder)
    assert command("report", "SWEEP", "--no-figures", "--tensorboard").exit_code == 0
    assert not (sweep_folder.path / "unsealed.jsonl").exists()
    told = {
        path.name: "scores/linear_probe.top1" in tags_of(path)
        for path in (sweep_folder.path / "tensorboard" / "runs").iterdir()
    }
    assert len(told) == 18 and {run_id for run_id, has_score in told.items() if not has_score} == set(sealed)
    result = command("report", "SWEEP", "--unseal")
    assert result.exit_code == 0 and "opened by" in result.output
    (line,) = (sweep_folder.path / "unsealed.jsonl").read_text().splitlines()
    assert json.loads(line)["run_ids"] == sealed


def test_results_of_others_go_through_the_same_fit(tmp_path: Path) -> None:
    lines = ["model,seen,macs,params,top1"]
    for tower, params in (("S", 22), ("B", 86), ("L", 304), ("H", 632)):
        for seen in (1, 3, 10, 30):
            error = 0.2 + 0.25 * (params / 86) ** -0.45 + 0.15 * seen**-0.4
            lines.append(f"{tower},{seen}e9,{params / 5:.3f},{params},{100 * (1 - error):.4f}")
    (tmp_path / "others.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "others.yaml").write_text(
        "compute: {convention: forward_gmacs, per_sample: macs}\n"
        "columns: {image_tower: model, samples_seen: seen, parameters: {column: params, scale: 1e6}}\n"
        "values: {objective: theirs, seed: 0}\n"
        "metrics: {imagenet.top1: {column: top1, kind: accuracy, scale: 0.01}}\n"
    )
    arguments = [
        "fit",
        str(tmp_path / "others.csv"),
        "--mapping",
        str(tmp_path / "others.yaml"),
        "--refits",
        "100",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "imagenet.top1, theirs" in result.output and "additive_surface" in result.output
