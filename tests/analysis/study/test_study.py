"""From run directories to the verdict: the truth of a simulated sweep comes back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_sweep import SAMPLES, TOWERS, SweepFolder, science

from analysis.comparison.compare import ComparisonStatus
from analysis.fitting.fit import FitStatus
from analysis.load import load_sweep
from analysis.study.ledger import ledger
from analysis.study.study import MetricStudy, StudyOptions, study_metric

TEXT_TOWER = 1.2  # CLIP's compute per sample over SuperClass's in the simulated sweeps
METRIC = "linear_probe.top1"


def surface_error(point: dict[str, Any]) -> float:
    """One surface of image tower and samples for both objectives: CLIP differs in what its text tower costs alone."""
    size, samples = TOWERS[point["image_tower"]] / 1.2e8, point["samples_seen"] / 16_384
    u = 0.5 * size**-0.4 + 0.6 * samples**-0.5
    return float((0.1 + (1 - 1 / 64) * u) / (1 + u))


def fill(folder: SweepFolder, *, noise: float, seeds: tuple[int, ...] = (0,), seed: int = 0) -> None:
    """Three towers x three samples_seen x seeds of both objectives; noise is relative, of each run."""
    rng = np.random.default_rng(seed)
    for objective in ("superclass", "clip"):
        for tower in TOWERS:
            for samples in SAMPLES:
                for run_seed in seeds:
                    point = science(objective, tower, samples, run_seed)
                    error = surface_error(point) * float(np.exp(noise * rng.standard_normal()))
                    folder.add(point, "done", error=error)


def study_of(folder: SweepFolder, metric: str = METRIC, **options: Any) -> MetricStudy:
    """The study of the folder as it stands, with few refits."""
    return study_metric(load_sweep(folder.path), metric, StudyOptions(**{"num_refits": 200, **options}))


def test_the_ratio_is_what_the_text_tower_costs_where_that_is_all_the_difference(
    sweep_folder: SweepFolder,
) -> None:
    fill(sweep_folder, noise=0.0005)
    comparison = study_of(sweep_folder).comparison
    assert comparison is not None and comparison.status is ComparisonStatus.OK
    assert comparison.reference_compute is not None
    ratio = comparison.ratio_at(comparison.reference_compute)
    assert ratio.estimate == pytest.approx(1 / TEXT_TOWER, rel=0.05)
    assert ratio.lower is not None and ratio.upper is not None
    assert ratio.lower < 1 / TEXT_TOWER < ratio.upper
    assert f"{ratio.estimate:.2g}x the compute" in comparison.sentence()


def test_both_objectives_are_fitted_with_one_form(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.01, seed=4)
    sides = study_of(sweep_folder).sides
    asked = {(side.fit.asked or side.fit.form) for side in sides.values() if side.fit}
    assert len(asked) == 1
    assert next(iter(asked)).covariates == ("parameters", "samples_seen")


def test_seeds_of_a_cell_and_their_rivals_share_one_cluster(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.01, seeds=(0, 1))
    sides = study_of(sweep_folder).sides
    labels = [set(side.fit.observations.clusters) for side in sides.values() if side.fit]
    assert labels[0] == labels[1] and len(labels[0]) == 9


def test_runs_of_one_trunk_share_a_cluster_whatever_their_samples(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.01)
    table = load_sweep(sweep_folder.path).assign(trunk=lambda runs: runs["image_tower"] + "-trunk")
    study = study_metric(table, METRIC, StudyOptions(num_refits=50))
    fit = study.sides["clip"].fit
    assert fit is not None and fit.observations.num_clusters == 3
    assert study.comparison is not None and study.comparison.status is ComparisonStatus.NOT_IDENTIFIED
    assert "cluster" in study.comparison.reason


def test_fewer_than_eight_cells_give_no_interval_rather_than_a_narrow_one(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.01)
    table = load_sweep(sweep_folder.path)
    fewer = table[~((table["image_tower"] == "vit_tiny8") & (table["samples_seen"] > 8_192))]
    comparison = study_metric(fewer, METRIC, StudyOptions(num_refits=50)).comparison
    assert comparison is not None and comparison.status is ComparisonStatus.NOT_IDENTIFIED
    assert "7" in comparison.reason and "not identified" in comparison.sentence()


def test_failed_runs_enter_no_fit_and_their_effect_is_in_the_ledger(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.005)
    failed = sweep_folder.add(science("superclass", "vit_tiny8", 65_536), "diverged", reason="loss is nan")
    sweep_folder.plan()
    study = study_of(sweep_folder)
    fit = study.sides["superclass"].fit
    assert fit is not None and len(fit.observations) == 9
    rows = {row.rule: row for row in ledger(study)}
    assert rows["failed"].run_ids == (failed,)
    assert any("worst" in rule for rule in rows), "more than 5 % failed, so that they are imputed for a look"


def test_what_an_early_score_would_change_is_told(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.005)
    path = sweep_folder.path / "clip-vit_tiny8-32768-s0" / "record.json"
    record = json.loads(path.read_text())
    for evaluation in record["evaluations"]:
        evaluation["samples_seen"] = 4_096
    path.write_text(json.dumps(record))
    row = next(row for row in ledger(study_of(sweep_folder)) if row.rule == "early score")
    assert row.run_ids == ("clip-vit_tiny8-32768-s0",) and row.ratio is not None


def test_sealed_runs_change_nothing_whatever_they_scored(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.005)
    table = load_sweep(sweep_folder.path)
    rivals = [science(objective, "vit_tiny8", 65_536) for objective in ("superclass", "clip")]
    sealed = frozenset(sweep_folder.add(point, "done", error=0.9) for point in rivals)
    before = study_metric(table, METRIC, StudyOptions(num_refits=50))
    after = study_of(sweep_folder, num_refits=50, sealed=sealed)
    for name, side in before.sides.items():
        fit = after.sides[name].fit
        assert side.fit is not None and fit is not None and fit.law == side.fit.law
    row = next(row for row in ledger(after) if row.rule == "sealed")
    assert row.ratio is None and "before the holdout is opened" in row.reason


def test_losses_of_two_objectives_are_refused_a_comparison(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.001)
    study = study_of(sweep_folder, "held_out_loss.loss")
    assert study.comparison is not None and "measure different things" in study.comparison.sentence()


def test_a_task_of_the_label_head_stands_beside_the_same_task_of_the_text_tower(
    sweep_folder: SweepFolder,
) -> None:
    fill(sweep_folder, noise=0.001)
    study = study_of(sweep_folder, "zero_shot.top1")
    scored = {name: set(side.points["scored_by"]) for name, side in study.sides.items()}
    assert scored == {"superclass": {"zero_shot_head"}, "clip": {"zero_shot"}}
    assert study.comparison is not None and study.comparison.ratio is not None


def test_runs_of_several_methods_are_not_joined_by_one_law(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.001)
    online = load_sweep(sweep_folder.path).assign(idf="online")
    table = pd.concat([online, online.assign(idf="off", run_id=online["run_id"] + "-off")], ignore_index=True)
    side = study_metric(table, METRIC, StudyOptions(num_refits=20)).sides["clip"]
    assert side.fit is not None and side.fit.status is FitStatus.MIXED_POINTS and "idf" in side.reason


def test_the_best_of_several_learning_rates_is_no_cell_until_the_rival_had_as_many(
    sweep_folder: SweepFolder,
) -> None:
    fill(sweep_folder, noise=0.001)
    table = load_sweep(sweep_folder.path)
    tuned = table[table["objective"] == "superclass"].assign(learning_rate=1e-3)
    tuned["run_id"] += "-lr"
    tuned["linear_probe.top1"] += 0.01
    runs = pd.concat([table.assign(learning_rate=5e-4), tuned], ignore_index=True)
    study = study_metric(runs, METRIC, StudyOptions(num_refits=50))
    assert study.tuning is not None and study.tuning.corrected
    assert len(study.sides["superclass"].points) == 9
    gain = study.sides["superclass"].points["error"].mean() - tuned["linear_probe.top1"].rsub(1).mean()
    assert gain == pytest.approx(0.005), "one try of two is worth their mean, not the better one"


def test_an_objective_without_a_finished_run_has_no_law_but_a_reason(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "queued")
    side = study_of(sweep_folder).sides["clip"]
    assert side.fit is None and side.reason == "no finished run has this metric"


def test_a_run_that_scores_below_chance_is_fitted_like_any_other(sweep_folder: SweepFolder) -> None:
    fill(sweep_folder, noise=0.001)
    sweep_folder.add(science("clip", "vit_nano8", 1_024), "done", error=0.9999)
    fit = study_of(sweep_folder, num_refits=20).sides["clip"].fit
    assert fit is not None and len(fit.observations) == 10
