"""A refit that reached no minimum gets another chance before it is counted as failed."""

from __future__ import annotations

import numpy as np

from analysis.fitting.descent import descend
from analysis.fitting.fit import GRADIENT_TOLERANCE, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.forms.bounded import Bounded
from analysis.intervals.refitting import tried_again

FORM = Bounded(("parameters", "samples_seen"), 0.999)


def test_refits_cut_short_end_where_the_others_do_and_the_others_stay() -> None:
    towers, samples = np.meshgrid(np.geomspace(5e6, 6e8, 4), np.geomspace(1e8, 1e10, 4))
    u = 0.3 * (towers.ravel() / 6e7) ** -0.35 + 0.4 * (samples.ravel() / 1e9) ** -0.3
    rng = np.random.default_rng(0)
    error_N = (0.1 + 0.999 * u) / (1 + u) + rng.normal(0, 0.004, u.size)
    points = Observations.of(error_N, parameters=towers.ravel(), samples_seen=samples.ravel())
    fit = fit_form(points, FORM, FitOptions(loss="squares"))
    problem = Problem.of(points, FORM, fit.options, references=fit.found.references)
    target_RN = error_N + rng.normal(0, 0.02, (40, u.size))
    starts_RP = np.tile(fit.found.theta, (40, 1))
    whole = descend(problem, starts_RP.copy(), target_RN=target_RN)
    short = descend(problem, starts_RP.copy(), target_RN=target_RN, max_steps=3)
    cut = short.gradient_R > GRADIENT_TOLERANCE
    assert cut.sum() >= 10, "three steps are too few for many"
    again = tried_again(short, problem, np.inf, target_RN)
    assert np.mean(again.gradient_R > GRADIENT_TOLERANCE) <= np.mean(whole.gradient_R > GRADIENT_TOLERANCE)
    assert np.all(again.objective_R <= short.objective_R) and np.all(
        again.objective_R[cut] < short.objective_R[cut]
    )
    np.testing.assert_allclose(
        again.objective_R[cut], np.minimum(again.objective_R, whole.objective_R)[cut], rtol=1e-6
    )
    np.testing.assert_array_equal(again.theta_RP[~cut], short.theta_RP[~cut])
