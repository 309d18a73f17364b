"""What enters a fit: weights near the ends, scores that cannot be, settings that were tuned, towers of unknown size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from analysis.comparison.compare import ComparisonStatus
from analysis.filters import select_points
from analysis.study.ledger import ledger
from analysis.study.points import PRIOR_RUN_SPREAD, cluster_labels, error_variance, menu_of, run_spread
from analysis.study.study import MetricStudy, StudyOptions, study_metric

METRIC = "linear_probe.top1"


def study_of(table: pd.DataFrame, **options: Any) -> MetricStudy:
    return study_metric(table, METRIC, StudyOptions(**{"num_refits": 50, **options}))


def seeded(error: float, spread: float, num_cells: int = 400) -> pd.DataFrame:
    """Cells of two seeds each, whose logits scatter by `spread` around one error."""
    logits = logit(error) + spread * np.random.default_rng(0).standard_normal(2 * num_cells)
    cells = np.repeat(np.arange(num_cells), 2)
    return pd.DataFrame(
        {"error": expit(logits), "image_tower": "vit", "samples_seen": cells, "num_evaluated": np.nan}
    )


@pytest.mark.parametrize("error", [0.15, 0.5, 0.85])
def test_the_spread_of_seeds_is_that_of_logits_at_any_error(error: float) -> None:
    assert run_spread(seeded(error, spread=0.05)) == pytest.approx(0.05, rel=0.1)


def test_seeds_that_agree_to_the_last_digit_are_given_the_prior_spread() -> None:
    points = seeded(0.4, spread=0.0)
    assert run_spread(points) == PRIOR_RUN_SPREAD
    assert np.all(error_variance(points) > 0)


def test_a_run_that_learned_nothing_does_not_outweigh_those_that_did(table: pd.DataFrame) -> None:
    weight_N = 1 / error_variance(
        pd.DataFrame(
            {
                "error": [0.5, 0.999, 1.0],
                "num_evaluated": 50_000.0,
                "image_tower": "vit",
                "samples_seen": [1, 2, 3],
            }
        )
    )
    assert weight_N.max() / weight_N.min() < 50
    nothing = table[table["samples_seen"] == 8_192].assign(samples_seen=1_024, measured_samples_seen=1_024)
    nothing["run_id"] += "-less"
    nothing["evaluation.linear_probe.samples_seen"] = 1_024
    nothing["train_flops"] /= 8
    nothing[METRIC] = 0.0
    before, after = study_of(table), study_of(pd.concat([table, nothing], ignore_index=True))
    for name in before.sides:
        fits = [study.sides[name].fit for study in (before, after)]
        at = [fit.found.predict(parameters=400_000, samples_seen=16_384) for fit in fits if fit is not None]
        assert at[1] == pytest.approx(at[0], rel=0.05)


def test_a_run_without_an_error_is_kept_as_half_an_error_among_those_evaluated(table: pd.DataFrame) -> None:
    perfect = table.assign(**{METRIC: table[METRIC].mask(table.index == 0, 1.0)})
    selection = select_points(perfect, METRIC)
    assert len(selection.points) == len(table)
    assert selection.points["error"].min() == pytest.approx(0.5 / 2_000)


def test_scores_in_percent_are_named_as_the_reason_why_no_law_is_stated(table: pd.DataFrame) -> None:
    study = study_of(table.assign(**{METRIC: 100 * table[METRIC]}))
    for side in study.sides.values():
        assert side.fit is None and "9 under 'no fraction' (a score above 1" in side.reason


def test_a_score_that_is_not_finite_is_no_score(table: pd.DataFrame) -> None:
    broken = table.assign(**{METRIC: table[METRIC].mask(table.index == 0, -np.inf)})
    (rule,) = [rule for rule in select_points(broken, METRIC).rules if rule.run_ids]
    assert rule.name == "no score" and rule.run_ids == (table["run_id"][0],)


def test_settings_of_a_lone_objective_are_no_seeds_of_its_cells(table: pd.DataFrame) -> None:
    alone = table[table["objective"] == "clip"].reset_index(drop=True)
    worse = alone.assign(learning_rate=1e-3, run_id=alone["run_id"] + "-lr")
    worse[METRIC] -= 0.05
    study = study_of(pd.concat([alone.assign(learning_rate=5e-4), worse], ignore_index=True))
    side = study.sides["clip"]
    assert len(side.points) == 9
    best = side.points.set_index("run_id")["error"].sort_index()
    np.testing.assert_allclose(best, 1 - alone.set_index("run_id")[METRIC].sort_index())
    (row,) = [row for row in ledger(study) if row.rule == "other settings"]
    assert set(row.run_ids) == set(worse["run_id"]) and "stands for the cell" in row.reason


def test_a_learning_rate_that_diverged_was_tried(table: pd.DataFrame) -> None:
    """Two settings each, of which the rival's second failed: nothing is corrected in favour of either."""
    again = table.assign(learning_rate=1e-3, run_id=table["run_id"] + "-lr")
    again[METRIC] -= 0.05
    again.loc[again["objective"] == "clip", ["status", METRIC]] = ["diverged", np.nan]
    study = study_of(pd.concat([table.assign(learning_rate=5e-4), again], ignore_index=True))
    assert study.tuning is not None and (study.tuning.num_settings == 2).all(axis=None)
    best = pd.concat([side.points for side in study.sides.values()]).set_index("run_id")["error"].sort_index()
    np.testing.assert_allclose(best, 1 - table.set_index("run_id")[METRIC].sort_index())


def test_a_third_objective_that_was_tuned_is_told_why_it_has_no_law(table: pd.DataFrame) -> None:
    third = table[table["objective"] == "clip"].assign(objective="siglip")
    third["run_id"] = "siglip-" + third["run_id"]
    runs = pd.concat([table, third], ignore_index=True).assign(learning_rate=5e-4)
    again = runs.assign(learning_rate=1e-3, run_id=runs["run_id"] + "-lr")
    side = study_of(pd.concat([runs, again], ignore_index=True)).sides["siglip"]
    assert side.fit is None and "18 under 'not compared'" in side.reason


def test_seeds_of_a_cell_stay_together_although_each_has_a_trunk_of_its_own() -> None:
    """Numbered trunks, as of imported results: one per tower and seed, from which two lengths branch off."""
    rows = [
        {"run_id": f"{tower}-{samples}-{seed}", "image_tower": tower, "samples_seen": samples, "trunk": trunk}
        for trunk, (tower, seed) in enumerate([("S", 0), ("S", 1), ("B", 0), ("B", 1)])
        for samples in (1_000, 2_000)
    ]
    labels = cluster_labels(pd.DataFrame(rows))
    assert len(set(labels)) == 2 and labels[:4] == ["S/1000"] * 4 and labels[4:] == ["B/1000"] * 4
    assert len(set(cluster_labels(pd.DataFrame(rows).drop(columns="trunk")))) == 4


def test_trunks_of_two_objectives_on_the_same_cells_are_drawn_jointly(table: pd.DataFrame) -> None:
    branched = table.assign(trunk=table["objective"] + table["image_tower"])
    comparison = study_of(branched).comparison
    assert comparison is not None and len(comparison.pairing.shared) == 3
    assert not comparison.pairing.studied_only and not comparison.pairing.rival_only


def test_towers_of_unknown_size_have_a_law_of_compute(table: pd.DataFrame) -> None:
    unknown = table.drop(columns="parameters.image_tower")
    study = study_of(unknown)
    assert study.sides["clip"].fit is not None
    assert study.sides["clip"].fit.form.covariates == ("train_flops",)
    assert study.comparison is not None and study.comparison.status is ComparisonStatus.OK
    one = table["parameters.image_tower"].mask(table["image_tower"] == "vit_nano8")
    menu = menu_of(select_points(table.assign(**{"parameters.image_tower": one}), METRIC).points)
    assert np.isnan(menu.parameters_T).sum() == 1 and np.all(menu.flops_per_sample_T > 0)


def test_a_frontier_over_towers_is_not_compared_with_a_line_of_runs(table: pd.DataFrame) -> None:
    """A sweep half finished: one objective has three towers, the other one two."""
    half = table[~((table["objective"] == "clip") & (table["image_tower"] == "vit_tiny8"))]
    comparison = study_of(half).comparison
    assert comparison is not None and comparison.status is ComparisonStatus.REFUSED
    assert "does not compare with a line of runs" in comparison.sentence()
