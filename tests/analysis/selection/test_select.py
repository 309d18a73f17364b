"""Which form is chosen, and by what."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_surface import CEILING, SURFACE, surface_points

from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.bounded import Bounded
from analysis.forms.powers import PowerSum
from analysis.selection.candidates import candidates
from analysis.selection.criteria import aicc
from analysis.selection.select import select


def test_what_varies_decides_whether_surfaces_or_laws_of_compute_compete() -> None:
    grid = surface_points(0.0)
    assert all(form.covariates == SURFACE for form in candidates(grid, CEILING))
    one_tower = grid.where(grid.covariates["parameters"] == grid.covariates["parameters"][0])
    assert all(form.covariates == ("train_flops",) for form in candidates(one_tower, CEILING))
    assert all(
        isinstance(form, PowerSum) for form in candidates(grid, math.inf)
    ), "a loss has no error of guessing"


def test_the_form_that_made_the_points_is_admissible_in_nearly_every_world() -> None:
    options, wins = FitOptions(loss="squares"), 0
    for seed in range(20):
        selected = select(points := surface_points(0.005, seed=seed), candidates(points, CEILING), options)
        wins += next(one for one in selected.candidates if one.fit.form.name == "bounded_surface").admissible
    assert wins >= 12, "the coupled form holds it as a special case and may predict as well or better by luck"


def test_a_form_that_bends_the_wrong_way_is_told_by_its_forward_error() -> None:
    points = surface_points(0.002)
    selected = select(points, candidates(points, CEILING))
    scores = {one.fit.form.name: one for one in selected.candidates}
    assert scores["additive_surface"].forward.rmse > 3 * scores["bounded_surface"].forward.rmse
    assert not scores["additive_surface"].admissible
    assert selected.chosen.form.name != "additive_surface"


def test_stack_weights_sum_to_one_and_the_stack_lies_within_the_forms() -> None:
    points = surface_points(0.01)
    selected = select(points, candidates(points, CEILING))
    assert math.isclose(sum(one.stack_weight for one in selected.candidates), 1.0, rel_tol=1e-9)
    place = {"parameters": [1e9], "samples_seen": [3e10]}
    curves = [one.fit.found.predict(**place)[0] for one in selected.candidates if one.fit.law]
    assert min(curves) <= selected.stacked(lambda law: law.predict(**place))[0] <= max(curves)


def test_aicc_is_the_closed_form_of_gaussian_residuals() -> None:
    points = surface_points(0.01)
    fit = fit_form(points, PowerSum(SURFACE), FitOptions(loss="squares"))
    residual_N = fit.found.predict(**{name: points.covariates[name] for name in SURFACE}) - points.error_N
    n, k = len(points), 6
    expected = n * math.log(float(np.mean(residual_N**2))) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    assert aicc(fit) == pytest.approx(expected, rel=1e-9)


def test_points_that_no_form_describes_give_a_reason_and_no_law() -> None:
    points = surface_points(0.01, num_towers=1, num_samples=2)
    selected = select(points, candidates(points, CEILING))
    assert selected.chosen.law is None
    assert "needed" in selected.reason


def test_few_points_are_chosen_by_aicc_alone_and_the_reason_says_so() -> None:
    points = Observations.of(
        [0.60, 0.5, 0.42, 0.36, 0.31, 0.275],
        train_flops=np.geomspace(1e18, 3.2e19, 6),
        parameters=np.full(6, 1e7),
        samples_seen=np.geomspace(1e9, 3.2e10, 6),
    )
    selected = select(points, candidates(points, CEILING), FitOptions(loss="squares"))
    assert selected.chosen.law is not None
    assert "too few" in selected.reason


def test_a_fixed_floor_is_part_of_the_forms_name() -> None:
    assert Bounded(SURFACE, CEILING, fixed_floor=0.0).name == "bounded_surface_without_floor"
