"""How often intervals contain the truth: simulated studies of two seeds per cell, noise shared by the cell included.

A short version for every change; the binomial bound is the one that intervals covering 90 % would fail a time in ten.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulated_cells import SURFACE, TRUE_LAW, TRUE_VALUES, at, cells

from analysis.fitting.fit import fit_form
from analysis.intervals.wild import refit

NUM_WORLDS = 40
LEAST_COVERED = 34  # of 40: P(fewer | covers 95 %) = 0.003
FARTHER = {"parameters": [6e7, 6e8, 2e9], "samples_seen": [1e9, 1e10, 3e10]}  # centre, corner, beyond it


@pytest.mark.parametrize("num_cells", [9, 15, 40])
def test_intervals_of_bounded_surfaces_contain_the_truth(num_cells: int) -> None:
    covered, whole, exponents = np.zeros(3), 0, 0
    for world in range(NUM_WORLDS):
        fit = fit_form(cells(num_cells, seed=1000 + world), SURFACE)
        refits = refit(fit, num_refits=200, seed=world)
        assert not refits.reason
        x_MK = at(fit.found, **FARTHER)
        truth_M = TRUE_LAW.predict(**FARTHER)

        def errors(theta_RP: np.ndarray) -> np.ndarray:
            return refits.fit.form.predict(theta_RP, x_MK)

        pointwise, band = refits.curve(errors), refits.curve(errors, simultaneous=True)
        covered += (pointwise.lower_M <= truth_M) & (truth_M <= pointwise.upper_M)
        whole += bool(np.all((band.lower_M <= truth_M) & (truth_M <= band.upper_M)))
        exponents += refits.parameter("exponent_parameters").contains(TRUE_VALUES["exponent_parameters"])
    assert min(*covered, whole, exponents) >= LEAST_COVERED, (covered, whole, exponents)


def test_a_new_run_falls_into_its_band() -> None:
    inside = []
    for world in range(10):
        points = cells(40, seed=world)
        fit = fit_form(points, SURFACE)
        refits = refit(fit, num_refits=100)
        x_NK = at(fit.found, **{name: list(column) for name, column in points.covariates.items()})
        band = refits.new_run(lambda theta_RP: refits.fit.form.predict(theta_RP, x_NK))
        new_N = cells(40, seed=10_000 + world).error_N
        inside.append(np.mean((band.lower_M <= new_N) & (new_N <= band.upper_M)))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
