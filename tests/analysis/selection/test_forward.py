"""Forward validation sees only what lies below its share of compute."""

from __future__ import annotations

import dataclasses

import numpy as np
from simulated_surface import CEILING, SURFACE, surface_points

from analysis.fitting.fit import fit_form
from analysis.fitting.options import FitOptions
from analysis.forms.bounded import Bounded
from analysis.selection.forward import forward_validation, prediction_interval

FORM = Bounded(SURFACE, CEILING)


def test_a_fold_is_fitted_below_its_share_and_scored_above_it() -> None:
    points = surface_points(0.005)
    compute_N = points.covariates["train_flops"]
    for fold in forward_validation(points, FORM).folds:
        assert fold.fit.observations.covariates["train_flops"].max() <= fold.share * compute_N.max()
        assert fold.compute_F.min() > fold.share * compute_N.max()
        assert set(fold.run_ids).isdisjoint(fold.fit.observations.run_ids)


def test_changing_what_lies_above_changes_no_prediction() -> None:
    points = surface_points(0.005)
    above_N = points.covariates["train_flops"] > 0.3 * points.covariates["train_flops"].max()
    spoiled = dataclasses.replace(points, error_N=np.where(above_N, 0.9, points.error_N))
    for fold, other in zip(
        forward_validation(points, FORM).folds, forward_validation(spoiled, FORM).folds, strict=True
    ):
        if fold.share == 0.3:
            np.testing.assert_array_equal(fold.predicted_F, other.predicted_F)


def test_points_of_the_form_itself_are_predicted_exactly() -> None:
    score = forward_validation(surface_points(0.0), FORM, FitOptions(loss="squares"))
    assert score.num_predicted >= 10
    assert score.rmse < 1e-6


def test_new_runs_fall_into_their_interval_as_often_as_it_says() -> None:
    inside, count = 0, 0
    for seed in range(40):
        score = forward_validation(
            surface_points(0.004, seed=seed), FORM, FitOptions(loss="squares"), shares=(0.3,)
        )
        inside += round(score.coverage * score.num_predicted)
        count += score.num_predicted
    assert 0.90 <= inside / count <= 0.99, f"{inside} of {count} at a level of 95 %"


def test_the_interval_widens_away_from_the_points() -> None:
    points, far = surface_points(0.01), surface_points(0.0, num_towers=1, num_samples=1)
    far = dataclasses.replace(far, covariates={name: values * 1e3 for name, values in far.covariates.items()})
    fit = fit_form(points, FORM, FitOptions(loss="squares"))
    (_, lower_N, upper_N), (_, lower, upper) = prediction_interval(fit, points), prediction_interval(fit, far)
    assert (upper - lower)[0] > 1.5 * np.median(upper_N - lower_N)


def test_seeds_that_err_alike_narrow_no_interval() -> None:
    points = surface_points(0.01)
    options = FitOptions(loss="squares")
    twice = points.where(np.repeat(np.arange(len(points)), 2))
    alone, doubled = (prediction_interval(fit_form(seen, FORM, options), points) for seen in (points, twice))
    for one, other in zip(alone, doubled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6)


def test_new_runs_fall_into_their_interval_also_where_seeds_share_the_noise_of_their_cell() -> None:
    inside, count = 0, 0
    for seed in range(40):
        cells = surface_points(0.004, seed=seed)
        seeds = cells.where(np.repeat(np.arange(len(cells)), 2))
        run_N = np.random.default_rng(1_000 + seed).normal(0, 0.002, len(seeds))
        score = forward_validation(
            dataclasses.replace(seeds, error_N=seeds.error_N * np.exp(run_N)),
            FORM,
            FitOptions(loss="squares"),
            shares=(0.3,),
        )
        inside += round(score.coverage * score.num_predicted)
        count += score.num_predicted
    assert 0.90 <= inside / count <= 0.995, f"{inside} of {count} at a level of 95 %"
