"""From run directories to the verdict: the truth of a simulated sweep comes back."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from simulated_sweep import SweepFolder, add_surface, science

from analysis.comparison.compare import ComparisonStatus
from analysis.filters import select_points
from analysis.fitting.fit import FitStatus
from analysis.frontier import beyond_samples
from analysis.load import load_sweep
from analysis.study.ledger import ledger
from analysis.study.points import observations_of
from analysis.study.study import MetricStudy, StudyOptions, study_metric

TEXT_TOWER = 1.2  # CLIP's compute per sample over SuperClass's in the simulated sweeps
METRIC = "linear_probe.top1"


@pytest.fixture(scope="module")
def study(table: pd.DataFrame) -> MetricStudy:
    """The study of these runs."""
    return study_metric(table, METRIC, StudyOptions(num_refits=200))


def study_of(folder: SweepFolder, metric: str = METRIC, **options: Any) -> MetricStudy:
    """The study of the folder as it stands, with few refits."""
    return study_metric(load_sweep(folder.path), metric, StudyOptions(**{"num_refits": 50, **options}))


def test_the_ratio_is_what_the_text_tower_costs_where_that_is_all_the_difference(study: MetricStudy) -> None:
    comparison = study.comparison
    assert comparison is not None and comparison.status is ComparisonStatus.OK
    assert comparison.reference_compute is not None
    ratio = comparison.ratio_at(comparison.reference_compute)
    assert ratio.estimate == pytest.approx(1 / TEXT_TOWER, rel=0.1)
    assert ratio.lower is not None and ratio.upper is not None
    assert ratio.lower < 1 / TEXT_TOWER < ratio.upper
    assert f"{ratio.estimate:.2g}x the compute" in comparison.sentence()


def test_both_objectives_are_fitted_with_one_form(study: MetricStudy) -> None:
    asked = {(side.fit.asked or side.fit.form) for side in study.sides.values() if side.fit}
    assert len(asked) == 1
    assert next(iter(asked)).covariates == ("parameters", "samples_seen")


def test_seeds_of_a_cell_and_their_rivals_share_one_cluster(table: pd.DataFrame) -> None:
    again = table.assign(seed=1, run_id=table["run_id"] + "-again")
    points = select_points(pd.concat([table, again], ignore_index=True), METRIC).points
    sides = [observations_of(of_objective, METRIC) for _, of_objective in points.groupby("objective")]
    assert [len(side) for side in sides] == [18, 18]
    assert set(sides[0].clusters) == set(sides[1].clusters) and sides[0].num_clusters == 9


def test_runs_of_one_trunk_share_a_cluster_whatever_their_samples(table: pd.DataFrame) -> None:
    branched = table.assign(trunk=table["image_tower"] + "-trunk")
    study = study_metric(branched, METRIC, StudyOptions(num_refits=50))
    fit = study.sides["clip"].fit
    assert fit is not None and fit.observations.num_clusters == 3
    assert study.comparison is not None and study.comparison.status is ComparisonStatus.NOT_IDENTIFIED
    assert "cluster" in study.comparison.reason


def test_fewer_than_eight_cells_give_no_interval_rather_than_a_narrow_one(table: pd.DataFrame) -> None:
    fewer = table[~((table["image_tower"] == "vit_tiny8") & (table["samples_seen"] > 8_192))]
    comparison = study_metric(fewer, METRIC, StudyOptions(num_refits=50)).comparison
    assert comparison is not None and comparison.status is ComparisonStatus.NOT_IDENTIFIED
    assert "7" in comparison.reason and "not identified" in comparison.sentence()


def test_failed_runs_enter_no_fit_and_their_effect_is_in_the_ledger(sweep_folder: SweepFolder) -> None:
    add_surface(sweep_folder, noise=0.005)
    failed = sweep_folder.add(science("superclass", "vit_tiny8", 65_536), "diverged", reason="loss is nan")
    sweep_folder.plan()
    study = study_of(sweep_folder)
    fit = study.sides["superclass"].fit
    assert fit is not None and len(fit.observations) == 9
    rows = {row.rule: row for row in ledger(study)}
    assert rows["failed"].run_ids == (failed,)
    assert any("worst" in rule for rule in rows), "more than 5 % failed, so that they are imputed for a look"


def test_what_an_early_score_would_change_is_told(sweep_folder: SweepFolder) -> None:
    add_surface(sweep_folder, noise=0.005)
    path = sweep_folder.path / "clip-vit_tiny8-32768-s0" / "record.json"
    record = json.loads(path.read_text())
    for evaluation in record["evaluations"]:
        evaluation["samples_seen"] = 4_096
    path.write_text(json.dumps(record))
    row = next(row for row in ledger(study_of(sweep_folder)) if row.rule == "early score")
    assert row.run_ids == ("clip-vit_tiny8-32768-s0",) and row.ratio is not None


def test_sealed_runs_change_nothing_whatever_they_scored(sweep_folder: SweepFolder) -> None:
    add_surface(sweep_folder, noise=0.005)
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


def test_losses_of_two_objectives_are_refused_a_comparison(table: pd.DataFrame) -> None:
    comparison = study_metric(table, "held_out_loss.loss", StudyOptions(num_refits=50)).comparison
    assert comparison is not None and "measure different things" in comparison.sentence()


def test_a_task_of_the_label_head_stands_beside_the_same_task_of_the_text_tower(table: pd.DataFrame) -> None:
    study = study_metric(table, "zero_shot.top1", StudyOptions(num_refits=50))
    scored = {name: set(side.points["scored_by"]) for name, side in study.sides.items()}
    assert scored == {"superclass": {"zero_shot_head"}, "clip": {"zero_shot"}}
    assert study.comparison is not None and study.comparison.ratio is not None


def test_runs_of_several_methods_are_not_joined_by_one_law(table: pd.DataFrame) -> None:
    online, off = table.assign(idf="online"), table.assign(idf="off", run_id=table["run_id"] + "-off")
    side = study_metric(pd.concat([online, off], ignore_index=True), METRIC).sides["clip"]
    assert side.fit is not None and side.fit.status is FitStatus.MIXED_POINTS and "idf" in side.reason


def test_the_best_of_several_learning_rates_is_no_cell_until_the_rival_had_as_many(
    table: pd.DataFrame,
) -> None:
    tuned = table[table["objective"] == "superclass"].assign(learning_rate=1e-3)
    tuned["run_id"] += "-lr"
    tuned[METRIC] += 0.01
    runs = pd.concat([table.assign(learning_rate=5e-4), tuned], ignore_index=True)
    study = study_metric(runs, METRIC, StudyOptions(num_refits=50))
    assert study.tuning is not None and study.tuning.corrected
    assert len(study.sides["superclass"].points) == 9
    gain = study.sides["superclass"].points["error"].mean() - tuned[METRIC].rsub(1).mean()
    assert gain == pytest.approx(0.005), "one try of two is worth their mean, not the better one"


def test_an_objective_without_a_finished_run_has_no_law_but_a_reason(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "queued")
    side = study_of(sweep_folder).sides["clip"]
    assert side.fit is None and side.reason == "no finished run has this metric"


def test_a_run_that_scores_below_chance_is_fitted_like_any_other(sweep_folder: SweepFolder) -> None:
    add_surface(sweep_folder, noise=0.005)
    sweep_folder.add(science("clip", "vit_nano8", 1_024), "done", error=0.9999)
    fit = study_of(sweep_folder, num_refits=20).sides["clip"].fit
    assert fit is not None and len(fit.observations) == 10


def test_the_headline_stands_where_no_tower_is_trained_beyond_its_runs(study: MetricStudy) -> None:
    comparison = study.comparison
    assert (
        comparison is not None and comparison.ratio is not None and comparison.reference_compute is not None
    )
    ratio = comparison.ratio_at(comparison.reference_compute).estimate
    for name, needed in ((comparison.studied, ratio), (comparison.rival, 1.0)):
        side = study.sides[name]
        assert side.fit is not None and side.menu is not None
        assert not beyond_samples(side.fit.found, side.menu, [needed * comparison.reference_compute]).any()
    beyond = comparison.compute_M > comparison.reference_compute * 1.001
    assert comparison.ratio.extrapolated_M[beyond].all(), "the largest such compute is taken"


def test_the_compared_objectives_may_be_named_and_must_exist(table: pd.DataFrame) -> None:
    swapped = study_metric(
        table, METRIC, StudyOptions(num_refits=50, between=("clip", "superclass"))
    ).comparison
    assert swapped is not None and (swapped.studied, swapped.rival) == ("clip", "superclass")
    with pytest.raises(ValueError, match="siglip and clip: name two of superclass, clip"):
        study_metric(table, METRIC, StudyOptions(between=("siglip", "clip")))
