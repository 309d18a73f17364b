"""The noise that a design is judged by comes from residuals where they tell it, and says where they do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Belief
from analysis.design.cells import grid
from analysis.design.noise import PRIOR_NOISE, Noise, noise_of
from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions

TOWERS = ("vit_s16", "vit_b16", "vit_l16", "vit_h14")
MANY = grid(TOWERS, [round(1e8 * 1.12**step) for step in range(40)])


def fits(noise: Noise, seeds: int) -> tuple[Fit, Fit]:
    """Both objectives on a large grid whose cells have the given noise."""
    generator = np.random.default_rng(5)
    cells = MANY
    common_C = generator.normal(size=len(cells))
    beliefs = assumed_beliefs()

    def fit(belief: Belief) -> Fit:
        own_C = generator.normal(size=len(cells))
        cell_C = noise.cell * (np.sqrt(noise.shared) * common_C + np.sqrt(1 - noise.shared) * own_C)
        runs = [(row, cell) for row, cell in enumerate(cells) for _ in range(seeds)]
        x_NK = belief.x([cell for _, cell in runs])
        names = belief.law.form.covariates
        columns = {name: np.exp(x_NK[:, k]) * belief.law.references[name] for k, name in enumerate(names)}
        error_N = belief.law.predict(**columns) + cell_C[[row for row, _ in runs]]
        error_N = error_N + noise.run * generator.normal(size=len(runs))
        points = Observations.of(error_N, clusters=[cell.label for _, cell in runs], **columns)
        return fit_form(points, belief.law.form, FitOptions(loss="squares"))

    return fit(beliefs.studied), fit(beliefs.rival)


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_cell_noise_run_noise_and_their_sharing_are_recovered(shared: float) -> None:
    truth = Noise(cell=0.006, run=0.004, shared=shared)
    found = noise_of(*fits(truth, seeds=3))
    assert found.cell == pytest.approx(truth.cell, rel=0.2)
    assert found.run == pytest.approx(truth.run, rel=0.1)
    assert found.shared == pytest.approx(shared, abs=0.27)  # three standard errors
    assert "run noise from seeds" in found.source and "160 cells in common" in found.source


def test_without_seeds_the_division_into_cell_and_run_is_assumed_and_told() -> None:
    found = noise_of(*fits(Noise(cell=0.0, run=0.01, shared=1.0), seeds=1))
    assert np.hypot(found.cell, found.run) == pytest.approx(0.01, rel=0.1)
    assert found.run / found.cell == pytest.approx(PRIOR_NOISE.run / PRIOR_NOISE.cell)
    assert "31 % of their variance assumed per run (no seeds)" in found.source


def test_fits_without_degrees_of_freedom_take_the_prior_and_say_so() -> None:
    whole = fits(Noise(cell=0.0, run=1e-3, shared=1.0), seeds=1)
    few = [dataclasses.replace(fit, observations=fit.observations.where(np.arange(6))) for fit in whole]
    found = noise_of(few[0], few[1])
    assert (found.cell, found.run) == (PRIOR_NOISE.cell, PRIOR_NOISE.run)
    assert "the fits leave 2 degrees of freedom" in found.source
