"""Every run is either in the fit or under exactly one named rule."""

import json

import pytest
from simulated_sweep import SweepFolder, science, true_error

from analysis.filters import error_label, select_points
from analysis.load import load_sweep


def test_every_run_is_used_or_under_exactly_one_rule(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error, objectives=("superclass",))
    for samples, state in ((8_192, "oom"), (16_384, "running"), (32_768, "error")):
        sweep_folder.add(science("clip", "vit_nano8", samples), state)
    table = load_sweep(sweep_folder.path)
    selection = select_points(table, "linear_probe.top1")
    left_out = [run_id for rule in selection.rules for run_id in rule.run_ids]
    assert sorted([*selection.points["run_id"], *left_out]) == sorted(table["run_id"])
    counts = {rule.name: len(rule.run_ids) for rule in selection.rules if rule.run_ids}
    assert counts == {"failed": 2, "unfinished": 1}


def test_a_score_from_the_middle_of_training_is_left_out(sweep_folder: SweepFolder) -> None:
    run_id = sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.4)
    path = sweep_folder.path / run_id / "record.json"
    record = json.loads(path.read_text())
    record["evaluations"][0]["samples_seen"] = 4_096
    path.write_text(json.dumps(record))
    rules = {
        rule.name: rule.run_ids
        for rule in select_points(load_sweep(sweep_folder.path), "linear_probe.top1").rules
    }
    assert rules["early score"] == (run_id,)


def test_a_metric_that_nobody_recorded_leaves_every_finished_run_out(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error)
    selection = select_points(load_sweep(sweep_folder.path), "few_shot.top1")
    assert selection.points.empty
    assert {rule.name: len(rule.run_ids) for rule in selection.rules}["no score"] == 18


def test_a_perfect_score_of_unknown_precision_is_no_point(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "done", error=0.0)
    table = load_sweep(sweep_folder.path).drop(columns="evaluation.linear_probe.num_samples")
    assert select_points(table, "linear_probe.top1").points.empty


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("linear_probe.top1", "linear probe error (1 - top1)"),
        ("held_out_loss.loss", "held-out loss (nats)"),
        ("zero_shot_head.top1", "zero shot head error (1 - top1)"),
    ],
)
def test_axis_labels_state_how_the_error_is_made(metric: str, label: str) -> None:
    assert error_label(metric) == label
