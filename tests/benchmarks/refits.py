"""1,000 refits of the bounded surface on 150 cells against scipy.optimize.least_squares, one refit after another."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import least_squares

from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.forms.bounded import Bounded
from analysis.forms.form import Floats, Law
from analysis.intervals.wild import Refits, refit, wild_draws

NUM_REFITS, NUM_BY_SCIPY = 1000, 100  # scipy's time is per refit; a tenth of them is enough to know it
CEILING = 0.999  # error of guessing among 1,000 classes
RUN_SD = 0.004


def main() -> None:
    observations = cells()
    fit = fit_form(observations, Bounded(("parameters", "samples_seen"), CEILING), FitOptions(loss="squares"))
    start = time.perf_counter()
    refits = refit(fit, num_refits=NUM_REFITS)
    together = time.perf_counter() - start
    start = time.perf_counter()
    by_scipy_RP = one_by_one(refits, NUM_BY_SCIPY)
    alone = (time.perf_counter() - start) * NUM_REFITS / NUM_BY_SCIPY
    difference = float(np.abs(by_scipy_RP - refits.theta_RP[:NUM_BY_SCIPY]).max())
    print(
        f"{NUM_REFITS} refits of the bounded surface on {len(observations)} cells: {together:.2f} s, "
        f"{refits.failed_share:.1%} failed; scipy.optimize.least_squares one by one {alone:.1f} s, "
        f"{alone / together:.0f} x; largest difference of a coordinate {difference:.1e}"
    )


def cells() -> Observations:
    """150 cells, 5 towers x 30 numbers of samples, with noise."""
    parameters_TD, samples_TD = np.meshgrid(
        [5e6, 2e7, 8e7, 3e8, 6e8], np.geomspace(1e8, 1e10, 30), indexing="ij"
    )
    form = Bounded(("parameters", "samples_seen"), CEILING)
    values = {
        "scale_parameters": 0.3,
        "scale_samples_seen": 0.4,
        "exponent_parameters": 0.35,
        "exponent_samples_seen": 0.3,
        "floor": 0.1,
    }
    law = Law(form=form, theta=tuple(form.theta(values)), references={"parameters": 6e7, "samples_seen": 1e9})
    columns = {"parameters": parameters_TD.ravel(), "samples_seen": samples_TD.ravel()}
    error_N = law.predict(**columns) + np.random.default_rng(0).normal(0, RUN_SD, parameters_TD.size)
    return Observations.of(error_N, **columns)


def one_by_one(refits: Refits, count: int) -> Floats:
    """theta [count, P] of the first refits by scipy's trust-region solver with the same derivatives and targets."""
    fit, clusters = refits.fit, refits.clusters
    assert clusters is not None, "the fit has a law"
    problem = Problem.of(fit.observations, fit.form, fit.options, references=fit.found.references)
    sign_RN = wild_draws(clusters.labels, NUM_REFITS).of(fit.observations.clusters)[:count]
    predicted_N = problem.form.predict(refits.estimate_1P, problem.x_NK)[0]
    found = []
    for target_N in predicted_N + sign_RN * clusters.corrected_N:
        solved = least_squares(
            lambda theta_P: problem.residuals(theta_P[None], target_N[None])[0],
            fit.found.theta,
            jac=lambda theta_P: problem.linearised(theta_P[None], target_N[None])[1][0],
            xtol=1e-11,
            ftol=1e-14,
            gtol=1e-14,
        )
        found.append(solved.x)
    return np.asarray(found)


if __name__ == "__main__":
    main()
