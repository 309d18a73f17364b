"""Least absolute residuals end in a corner that no small step improves."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import case
from scipy.optimize import linprog

from analysis.fitting.absolute import absolute_minimum
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.forms.catalogue import form_named

ABSOLUTE = FitOptions(loss="absolute")


@pytest.mark.parametrize("name", ["bounded_surface", "saturating_power"])
def test_as_many_residuals_as_parameters_are_zero(name: str) -> None:
    known = case(name)
    fit = fit_form(known.observations(noise=3e-3), known.law.form, ABSOLUTE)
    problem = Problem.of(fit.observations, fit.form, ABSOLUTE)
    residual_N = np.sort(np.abs(problem.residuals(np.asarray([fit.found.theta]))[0]))
    num = len(fit.form.parameters)
    assert residual_N[num - 1] < 1e-9 < residual_N[num]


def test_no_step_near_the_corner_is_better() -> None:
    known = case("bounded_surface")
    fit = fit_form(known.observations(noise=3e-3), known.law.form, ABSOLUTE)
    assert fit.evidence is not None and fit.evidence.remaining_gain < 1e-9
    problem = Problem.of(fit.observations, fit.form, ABSOLUTE)
    rng, theta_P = np.random.default_rng(0), np.asarray(fit.found.theta)
    for size in (1e-1, 1e-3, 1e-6):
        near_RP = theta_P + rng.normal(0, size, (2_000, len(theta_P)))
        assert np.abs(problem.residuals(near_RP)).sum(axis=1).min() >= fit.evidence.objective * (1 - 1e-12)


def test_the_corner_of_a_linear_law_is_that_of_one_linear_program() -> None:
    rng, sizes = np.random.default_rng(1), np.geomspace(1e7, 1e9, 21)
    x_N = np.log(sizes / np.exp(np.log(sizes).mean()))
    error_N = 0.4 - 0.01 * x_N + 0.02 * x_N**2 + rng.laplace(0, 0.01, 21)
    fit = fit_form(Observations.of(error_N, parameters=sizes), form_named("isoflop_parabola"), ABSOLUTE)
    power_NP = x_N[:, None] ** np.arange(3)
    program = linprog(
        np.concatenate([np.zeros(3), np.ones(21)]),
        A_ub=np.block([[power_NP, -np.eye(21)], [-power_NP, -np.eye(21)]]),
        b_ub=np.concatenate([error_N, -error_N]),
        bounds=[(None, None)] * 3 + [(0, None)] * 21,
    )
    assert fit.evidence is not None and fit.evidence.objective == pytest.approx(program.fun, rel=1e-9)
    np.testing.assert_allclose(list(fit.found.values.values()), program.x[:3], atol=1e-7)


def test_a_start_at_the_corner_stays_there() -> None:
    known = case("saturating_power")
    fit = fit_form(known.observations(noise=3e-3), known.law.form, ABSOLUTE)
    problem = Problem.of(fit.observations, fit.form, ABSOLUTE)
    again = absolute_minimum(problem, np.asarray(fit.found.theta))
    np.testing.assert_allclose(again.theta_P, fit.found.theta, rtol=1e-9)
    assert again.gain <= 1e-9 * again.objective
