"""The table of a sweep holds every run and invents no number."""

import json

import numpy as np
import pandas as pd
import pytest
from simulated_sweep import SweepFolder, planned_cost, science, true_error

from analysis.load import load_sweep, metric_columns
from scaling.records import RunDirectory


def test_a_finished_run_has_its_science_plan_measurements_and_scores(sweep_folder: SweepFolder) -> None:
    point = science("clip", "vit_micro8", 16_384)
    run_id = sweep_folder.add(point, "done", error=0.4)
    run = load_sweep(sweep_folder.path).set_index("run_id").loc[run_id]
    cost = planned_cost(point)
    assert run["status"] == "done" and run["reason"] == ""
    assert (run["objective"], run["image_tower"], run["samples_seen"]) == ("clip", "vit_micro8", 16_384)
    assert run["train_flops"] == sum(cost.train_flops_per_sample.values()) * 16_384
    assert run["measured_device_hours"] == pytest.approx(1.1 * run["planned_device_hours"])
    assert run["parameters"] == sum(cost.parameters.values())
    assert run["linear_probe.top1"] == pytest.approx(0.6)
    assert run["evaluation.linear_probe.protocol"] == "simulated@1"


def test_training_compute_follows_the_counted_samples_not_the_planned_ones(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("superclass", "vit_nano8", 8_192), "done", error=0.4)
    path = sweep_folder.path / run_id / "record.json"
    record = json.loads(path.read_text())
    record["measured"]["samples_seen"] = 4_096
    path.write_text(json.dumps(record))
    run = load_sweep(sweep_folder.path).iloc[0]
    assert run["train_flops"] == run["planned_train_flops"] / 2


@pytest.mark.parametrize("state", ["queued", "running", "trained", "error", "oom", "diverged", "killed"])
def test_an_unfinished_or_failed_run_has_no_score_and_no_measurement(
    sweep_folder: SweepFolder, state: str
) -> None:
    sweep_folder.add(science("superclass", "vit_nano8", 8_192), "done", error=0.4)
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), state, reason="some reason")
    run = load_sweep(sweep_folder.path).set_index("run_id").loc[run_id]
    assert run["status"] == state and run["reason"] == "some reason"
    absent = run[["linear_probe.top1", "train_flops", "measured_device_hours", "measured_samples_seen"]]
    assert absent.isna().all()


def test_the_planned_compute_of_a_run_without_a_record_comes_from_the_plan(sweep_folder: SweepFolder) -> None:
    point = science("clip", "vit_nano8", 8_192)
    sweep_folder.add(point, "oom")
    assert np.isnan(load_sweep(sweep_folder.path)["planned_train_flops"].iloc[0])
    sweep_folder.plan()
    assert load_sweep(sweep_folder.path)["planned_train_flops"].iloc[0] == planned_cost(point).train_flops


def test_a_run_of_a_trunk_tells_it_before_its_end_and_what_it_branched_from_after(
    sweep_folder: SweepFolder,
) -> None:
    run_ids = [
        sweep_folder.add(science("clip", "vit_nano8", 8_192), "running"),
        sweep_folder.add(science("clip", "vit_nano8", 16_384), "done", error=0.5),
    ]
    for run_id in run_ids:
        directory = RunDirectory(sweep_folder.path / run_id)
        directory.point.write_text(
            json.dumps({**json.loads(directory.point.read_text()), "trunk": "clip-trunk"})
        )
    record = directory.read_record()
    assert record is not None
    directory.write_record(record.model_copy(update={"branched_from": run_ids[0]}))
    table = load_sweep(sweep_folder.path).set_index("run_id")
    assert set(table["trunk"]) == {"clip-trunk"}
    assert table.loc[run_ids[1], "branched_from"] == run_ids[0] and pd.isna(
        table.loc[run_ids[0], "branched_from"]
    )


def test_a_record_that_does_not_parse_is_a_row_that_says_so(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.4)
    (sweep_folder.path / run_id / "record.json").write_text('{"sweep": ')
    run = load_sweep(sweep_folder.path).iloc[0]
    assert run["status"] == "unreadable" and "Invalid JSON" in run["reason"] and np.isnan(run["train_flops"])


def test_a_run_whose_record_is_damaged_keeps_its_objective_and_plan_and_names_file_and_key(
    sweep_folder: SweepFolder,
) -> None:
    point = science("clip", "vit_nano8", 8_192)
    path = sweep_folder.path / sweep_folder.add(point, "done", error=0.4) / "record.json"
    sweep_folder.plan()
    record = json.loads(path.read_text())
    record["evaluations"][0]["metrics"]["top1"] = "high"
    path.write_text(json.dumps(record))
    run = load_sweep(sweep_folder.path).iloc[0]
    assert run["status"] == "unreadable" and run["objective"] == "clip"
    assert run["planned_train_flops"] == planned_cost(point).train_flops
    assert run["reason"].startswith(f"{path} is damaged (evaluations.0.metrics.top1: Input should be")


@pytest.mark.parametrize("text", ["[]", "{}", '{"science": 3, "sweep": "a", "run_id": "b"}', "", "{"])
def test_a_point_that_is_none_is_a_row_that_names_the_file(sweep_folder: SweepFolder, text: str) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.4)
    (sweep_folder.path / run_id / "point.json").write_text(text)
    run = load_sweep(sweep_folder.path).iloc[0]
    assert (run["run_id"], run["status"]) == (run_id, "unreadable")
    assert run["reason"].startswith("point.json cannot be read: ")


def test_a_run_that_claims_to_be_done_without_a_record_is_not(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "done")
    assert load_sweep(sweep_folder.path)["status"].iloc[0] == "unreadable"


def test_chance_levels_are_not_metrics(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error)
    metrics = metric_columns(load_sweep(sweep_folder.path))
    assert "linear_probe.top1" in metrics and "held_out_loss.loss" in metrics
    assert "linear_probe.chance" not in metrics


def test_a_missing_sweep_folder_is_an_error_that_says_what_to_give(sweep_folder: SweepFolder) -> None:
    with pytest.raises(ValueError, match="runs/<sweep>"):
        load_sweep(sweep_folder.path / "absent")


def test_a_plan_that_does_not_parse_is_an_error_that_names_the_file(sweep_folder: SweepFolder) -> None:
    (sweep_folder.path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="plan.json: not a plan"):
        load_sweep(sweep_folder.path)


def test_a_folder_without_runs_is_an_empty_table(sweep_folder: SweepFolder) -> None:
    assert load_sweep(sweep_folder.path).empty
