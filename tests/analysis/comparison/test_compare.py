"""Comparisons as values: what is stated, what is not identified, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.cells import on_shared_cells, pairing, with_failed_as_worst
from analysis.comparison.compare import CompareOptions, Comparison, ComparisonStatus, compare
from analysis.comparison.paired import Tails, compute_grid, paired_frontiers
from analysis.comparison.side import FailedRuns, Side
from analysis.comparison.tuning import tuning_budget
from analysis.comparison.worlds import DESIGNS, Noise, simulate
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations

SQUARE, TRIANGLE = DESIGNS[0], DESIGNS[3]
QUICK = CompareOptions(num_refits=199, nested=False, sensitivity=False)
SMALL_NOISE = Noise(shared_cell=0.003, own_cell=0.003, run=0.002)


def refitted(side: Side, points: Observations) -> Side:
    return dataclasses.replace(side, fit=fit_form(points, side.fit.form, side.fit.options))


def width(found: Comparison) -> float:
    """Doublings at the largest compute of both."""
    assert found.reference_compute is not None
    interval = found.ratio_at(found.reference_compute)
    assert interval.lower is not None and interval.upper is not None
    return float(np.log2(interval.upper / interval.lower))


def test_a_known_ratio_is_recovered_with_a_short_interval_where_noise_is_small() -> None:
    found = compare(*simulate(TRIANGLE, seed=3, ratio=0.8, noise=SMALL_NOISE), options=QUICK)
    assert found.status is ComparisonStatus.OK
    interval = found.ratio_at(1e21)
    assert interval.contains(0.8) and not interval.contains(1.0)
    assert found.p_value is not None and found.p_value < 0.05
    assert found.probability_better_M[-1] > 0.95


def test_the_sentence_states_ratio_interval_compute_and_where_it_ends() -> None:
    found = compare(*simulate(TRIANGLE, seed=3, ratio=0.8, noise=SMALL_NOISE), options=QUICK)
    assert found.finding is not None and found.finding.decided_until is not None
    interval = found.finding.ratio
    assert interval.lower is not None and interval.upper is not None
    told = found.sentence()
    assert told.startswith(f"studied reaches rival's error with {interval.estimate:.2g}x the compute [")
    assert f"[{interval.lower:.2g}, {interval.upper:.2g}] at 1.5e21 FLOPs" in told
    assert ("we cannot tell beyond" in told) == (found.finding.decided_until < found.finding.limit)


def test_shared_noise_of_a_cell_cancels_only_where_clusters_are_paired() -> None:
    noise = Noise(shared_cell=0.012, own_cell=0.0, run=0.002)
    studied, rival = simulate(TRIANGLE, seed=1, noise=noise)
    points = rival.fit.observations
    renamed = dataclasses.replace(points, clusters=tuple(f"other {label}" for label in points.clusters))
    apart = refitted(rival, renamed)
    together = compare(studied, rival, options=QUICK)
    assert width(together) < 0.5 * width(compare(studied, apart, options=QUICK))
    assert together.pairing.studied_only == ()
    assert len(pairing(studied, apart).rival_only) == len(points)


def test_independent_noise_of_the_rival_counts_towards_the_degrees_of_freedom() -> None:
    """Paired copies of one fit have the eigenvalues of that fit; independent ones have each of them twice."""
    side = simulate(TRIANGLE, seed=1)[0]
    points = side.fit.observations
    renamed = dataclasses.replace(points, clusters=tuple(f"other {label}" for label in points.clusters))
    found = []
    for rival in (side, refitted(side, renamed)):
        grid = compute_grid(side, rival)
        frontiers = paired_frontiers(side, rival, grid, num_refits=9, seed=0)
        found.append(Tails.of(frontiers, 0.95).degrees_of_freedom(len(grid) // 2, len(grid) // 2))
    paired, independent = found
    assert 1.3 * paired < independent < 2.5 * paired


def test_counting_every_run_twice_as_a_second_seed_does_not_narrow_the_interval() -> None:
    sides = simulate(TRIANGLE, seed=2)
    rows = np.repeat(np.arange(len(sides[0].fit.observations)), 2)
    twice = [refitted(side, side.fit.observations.where(rows)) for side in sides]
    once, doubled = (width(compare(*pair, options=QUICK)) for pair in (sides, twice))
    assert doubled == pytest.approx(once, rel=0.05)


def test_disjoint_computes_are_not_compared() -> None:
    studied, rival = simulate(TRIANGLE, seed=0)
    menu = dataclasses.replace(rival.menu, flops_per_sample_T=rival.menu.flops_per_sample_T * 1e5)
    found = compare(studied, dataclasses.replace(rival, menu=menu), options=QUICK)
    assert found.status is ComparisonStatus.NOT_IDENTIFIED
    assert "no compute in common" in found.reason and "no compute in common" in found.sentence()
    with pytest.raises(ValueError, match="no ratio is stated"):
        found.ratio_at(1e20)


def test_three_cells_give_the_reason_and_no_number() -> None:
    studied, rival = simulate(SQUARE, seed=0)
    few = refitted(studied, studied.fit.observations.where(np.arange(3)))
    found = compare(few, rival, options=QUICK)
    assert found.status is ComparisonStatus.NOT_IDENTIFIED
    assert "3 points" in found.reason and found.ratio is None and found.p_value is None


def test_fewer_than_eight_clusters_give_an_estimate_without_interval() -> None:
    sides = simulate(DESIGNS[1], seed=0, noise=SMALL_NOISE)  # 9 cells with two seeds each
    trunks = [
        dataclasses.replace(
            side.fit.observations,
            clusters=tuple(label.split()[0] for label in side.fit.observations.clusters),
        )
        for side in sides
    ]
    found = compare(
        *(refitted(side, points) for side, points in zip(sides, trunks, strict=True)), options=QUICK
    )
    assert found.status is ComparisonStatus.NOT_IDENTIFIED
    assert "3 clusters" in found.reason
    assert found.ratio is not None and np.all(np.isfinite(found.ratio.estimate_M))
    interval = found.ratio_at(1e20)
    assert (interval.lower, interval.upper) == (None, None) and "3 clusters" in interval.reason
    assert "is not identified" in found.sentence() and "3 clusters" in found.sentence()
    assert found.crossing is None and not len(found.probability_better_M)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "loss"}, "losses of studied and rival"), ({"metric": "recall"}, "not one metric")],
)
def test_what_does_not_measure_the_same_is_refused(change: dict[str, str], words: str) -> None:
    studied, rival = simulate(SQUARE, seed=0)
    found = compare(dataclasses.replace(studied, **change), rival, options=QUICK)  # type: ignore[arg-type]
    assert found.status is ComparisonStatus.REFUSED and words in found.reason


def budget_of(studied_settings: int) -> pd.DataFrame:
    rows = [("studied", setting) for setting in range(studied_settings)] + [("rival", 0)]
    cell = {"image_tower": "S/16", "samples_seen": 128_000_000}
    return pd.DataFrame([{"objective": name, "setting": setting, **cell} for name, setting in rows])


def test_unequal_tuning_is_refused_and_equal_tuning_noted() -> None:
    sides = simulate(SQUARE, seed=0)
    refused = compare(*sides, options=QUICK, tuning=tuning_budget(budget_of(8), "studied", "rival"))
    assert refused.status is ComparisonStatus.REFUSED and "8 against 1" in refused.reason
    found = compare(*sides, options=QUICK, tuning=tuning_budget(budget_of(1), "studied", "rival"))
    assert found.status is ComparisonStatus.OK
    assert any("as many settings for both" in note for note in found.notes)
    assert any("assumed, not checked" in note for note in compare(*sides, options=QUICK).notes)


def test_the_sentence_may_be_asked_at_a_compute_but_not_beyond_what_is_believed() -> None:
    sides = simulate(TRIANGLE, seed=3, ratio=0.8, noise=SMALL_NOISE)
    found = compare(*sides, options=dataclasses.replace(QUICK, reference_compute=4e21))
    assert "at 4e21 FLOPs, beyond the points of one of them" in found.sentence() and found.p_value is None
    with pytest.raises(ValueError, match=r"reference_compute \(--at\) 1\.00e24 FLOPs: must be between"):
        compare(*sides, options=dataclasses.replace(QUICK, reference_compute=1e24))


def test_cells_of_one_objective_are_fitted_drawn_alone_and_left_out_as_a_check() -> None:
    studied, rival = simulate(TRIANGLE, seed=4, noise=SMALL_NOISE)
    fewer = refitted(rival, rival.fit.observations.where(np.arange(1, len(rival.fit.observations))))
    found = compare(studied, fewer, options=dataclasses.replace(QUICK, sensitivity=True))
    assert len(found.pairing.studied_only) == 1
    assert any("drawn alone" in note for note in found.notes)
    (check,) = found.sensitivities
    assert (check.rule, check.num_points) == ("only cells that both objectives have", 1)
    assert check.ratio is not None
    assert len(on_shared_cells(studied, found.pairing).fit.observations) == len(fewer.fit.observations)


def test_many_failed_runs_repeat_the_conclusion_with_them_as_the_worst_of_their_tower() -> None:
    studied, rival = simulate(TRIANGLE, seed=4, noise=SMALL_NOISE)
    failed = FailedRuns(
        covariates={"parameters": np.asarray([304e6]), "samples_seen": np.asarray([13e9])},
        clusters=("L/16 1.3e+10",),
        run_ids=("lost",),
    )
    hurt = dataclasses.replace(studied, failed=failed)
    imputed = with_failed_as_worst(hurt).fit.observations
    of_tower = studied.fit.observations.error_N[studied.fit.observations.covariates["parameters"] == 304e6]
    assert imputed.run_ids[-1] == "lost" and imputed.error_N[-1] == of_tower.max()
    found = compare(hurt, rival, options=dataclasses.replace(QUICK, sensitivity=True))
    assert [check.num_points for check in found.sensitivities] == [1]  # 1 of 18 runs is more than 5 %
    assert "failed runs of studied, counted and not fitted: 1 (6%)" in found.notes
    assert not compare(studied, rival, options=dataclasses.replace(QUICK, sensitivity=True)).sensitivities
