"""Descents agree with scipy's optimisers, respect bounds, and a search tells how many minima there are."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import case
from scipy.optimize import least_squares

from analysis.fitting.descent import descend
from analysis.fitting.losses import best_constant, huber
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem, target, target_slope
from analysis.fitting.search import search


def problem_of(name: str, noise: float = 3e-3, **options: object) -> Problem:
    known = case(name)
    return Problem.of(known.observations(noise), known.law.form, FitOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", [np.inf, 3e-3, 1e-4])
def test_a_descent_ends_where_scipys_does(delta: float) -> None:
    problem = problem_of("bounded_surface")
    ours = descend(problem, problem.seeds(), delta_R=delta)
    start_P = ours.theta_RP[0] + 0.02
    theirs = least_squares(
        lambda theta_P: problem.residuals(theta_P[None])[0],
        start_P,
        jac=lambda theta_P: problem.linearised(theta_P[None])[1][0],
        loss="linear" if delta == np.inf else "huber",
        f_scale=1.0 if delta == np.inf else delta,
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=20_000,
    )
    assert ours.objective_R.min() <= theirs.cost * (1 + 1e-9)
    assert ours.objective_R.min() == pytest.approx(theirs.cost, rel=1e-5)


def test_own_targets_and_counts_are_those_of_single_problems() -> None:
    problem = problem_of("bounded_surface")
    rng = np.random.default_rng(0)
    target_RN = problem.target_N + rng.normal(0, 1e-3, (5, len(problem.target_N)))
    count_RN = rng.integers(0, 3, (5, len(problem.target_N))).astype(float)
    start_RP = np.repeat(descend(problem, problem.seeds(1)).theta_RP, 5, axis=0)
    together = descend(problem, start_RP.copy(), delta_R=2e-3, target_RN=target_RN, multiplicity_RN=count_RN)
    for row in range(5):
        one = [slice(row, row + 1)]
        alone = descend(
            problem,
            start_RP[*one].copy(),
            delta_R=2e-3,
            target_RN=target_RN[*one],
            multiplicity_RN=count_RN[*one],
        )
        np.testing.assert_allclose(together.theta_RP[row], alone.theta_RP[0], rtol=1e-6, atol=1e-7)
    assert together.gradient_R.max() < 1e-6


def test_a_parameter_at_its_bound_does_not_hold_the_others_up() -> None:
    problem = problem_of("bounded_surface_without_floor")
    wider = problem_of("bounded_surface")
    assert wider.form.parameters[-1] == "floor"
    low = Problem.of(
        case("bounded_surface_without_floor").observations(3e-3, seed=4),
        wider.form,
        FitOptions(loss="squares"),
    )
    free = Problem.of(
        case("bounded_surface_without_floor").observations(3e-3, seed=4),
        problem.form,
        FitOptions(loss="squares"),
    )
    start_P = np.append(descend(free, free.seeds(1)).theta_RP[0] + 0.1, low.bounds[0][-1])
    ended = descend(low, start_P[None])
    if ended.theta_RP[0, -1] <= low.bounds[0][-1]:
        np.testing.assert_allclose(
            ended.theta_RP[0, :-1], descend(free, free.seeds(1)).theta_RP[0], atol=1e-4
        )
    assert ended.gradient_R[0] < 1e-6


def test_robust_losses_are_reached_on_two_ways() -> None:
    found = search(problem_of("bounded_surface", loss="huber"))
    assert len(found.objective_S) == 12 and found.num_agreeing == 12 and found.num_minima == 1


@pytest.mark.parametrize("residual", ["error", "log_error", "logit_error"])
def test_targets_are_smooth_and_rising_even_beyond_their_range(residual: str) -> None:
    error_N = np.concatenate(
        [-np.geomspace(1, 1e-12, 40), np.geomspace(1e-12, 0.999, 60), 1 + np.geomspace(1e-12, 1, 40)]
    )
    target_N = target(residual, error_N)  # type: ignore[arg-type]
    assert np.all(np.isfinite(target_N)) and np.all(np.diff(target_N) >= 0)
    step = 1e-7
    inside = error_N[(error_N > 1e-3) & (error_N < 0.99)]
    ahead, behind = target(residual, inside + step), target(residual, inside - step)  # type: ignore[arg-type]
    np.testing.assert_allclose(target_slope(residual, inside), (ahead - behind) / (2 * step), rtol=1e-5)  # type: ignore[arg-type]


def test_the_best_constant_is_a_mean_for_squares_and_a_median_for_tiny_deltas() -> None:
    target_N, weight_N = np.asarray([0.1, 0.2, 0.4, 0.9, 0.91]), np.asarray([1.0, 1.0, 2.0, 1.0, 1.0])
    assert best_constant(target_N, weight_N, np.inf) == pytest.approx(np.average(target_N, weights=weight_N))
    assert best_constant(target_N, np.ones(5), 1e-9) == pytest.approx(0.4)


def test_hubers_loss_is_square_within_and_straight_beyond_delta() -> None:
    loss_N = huber(np.asarray([0.5, -1.0, 3.0]), np.asarray(1.0))
    np.testing.assert_allclose(loss_N, [0.125, 0.5, 2.5])
