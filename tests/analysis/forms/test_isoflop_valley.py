"""A valley is stated only where the points show its bottom."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import case

from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.catalogue import form_named
from analysis.forms.form import Floats, Law
from analysis.forms.isoflop import Valley, ValleyStatus, valley

SIZES = np.geomspace(1e7, 1e9, 9)


def valley_of(error_N: Floats, form: str = "isoflop_parabola") -> Valley:
    fit = fit_form(Observations.of(error_N, parameters=SIZES), form_named(form), FitOptions(loss="squares"))
    return valley(fit.found, SIZES.min(), SIZES.max())


def test_the_bottom_of_a_parabola_is_found() -> None:
    found = valley_of(0.3 + 0.02 * np.log(SIZES / 2e8) ** 2)
    assert found.status is ValleyStatus.OK and found.error == pytest.approx(0.3)
    assert found.optimum == pytest.approx(2e8)


def test_a_lopsided_valley_biases_the_parabola_and_not_the_cubic() -> None:
    x_N = np.log(SIZES / 2e8)
    error_N = 0.3 + 0.02 * x_N**2 - 0.0025 * x_N**3
    assert valley_of(error_N, "isoflop_cubic").optimum == pytest.approx(2e8)
    assert abs(np.log((valley_of(error_N).optimum or 1.0) / 2e8)) > 0.1


def test_a_bottom_beyond_the_points_is_not_stated() -> None:
    found = valley_of(0.3 + 0.02 * np.log(SIZES / 2e9) ** 2)
    assert found.status is ValleyStatus.OUT_OF_RANGE and found.optimum is None
    assert "above the largest, 1e+09" in found.reason
    found = valley_of(0.3 + 0.02 * np.log(SIZES / 5e6) ** 2)
    assert (
        found.status is ValleyStatus.OUT_OF_RANGE and "below the smallest parameters, 1e+07" in found.reason
    )


def test_a_hill_and_a_slope_have_no_bottom() -> None:
    x_N = np.log(SIZES / 2e8)
    assert valley_of(0.9 - 0.02 * x_N**2).status is ValleyStatus.CONCAVE
    assert valley_of(0.5 + 0.02 * x_N + 0.002 * x_N**3, "isoflop_cubic").status is ValleyStatus.CONCAVE


def test_a_bottom_next_to_an_end_of_the_points_is_flagged() -> None:
    found = valley_of(0.3 + 0.02 * np.log(SIZES / 8e8) ** 2)
    assert found.status is ValleyStatus.OFF_CENTRE and found.optimum == pytest.approx(8e8)


def test_the_bottom_of_a_cubic_agrees_with_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = dict(zip(("level", "slope", "curvature", "skew"), rng.normal(0, 1, 4), strict=True))
        form = form_named("isoflop_cubic")
        law = Law(form=form, theta=tuple(map(float, form.theta(values))), references={"parameters": 1.0})
        found, grid = valley(law, np.exp(-50), np.exp(50)), np.linspace(-49, 49, 400_001)
        slope = np.diff(law.predict(parameters=np.exp(grid)))
        bottoms = grid[1:-1][(slope[:-1] < 0) & (slope[1:] >= 0)]
        if not len(bottoms):
            assert found.status in (ValleyStatus.CONCAVE, ValleyStatus.OUT_OF_RANGE)
        elif found.status is not ValleyStatus.OUT_OF_RANGE:
            assert np.log(found.optimum or 1.0) == pytest.approx(float(bottoms[0]), abs=1e-3)


def test_only_polynomials_have_a_valley() -> None:
    with pytest.raises(ValueError, match="bounded_surface is no IsoFLOP polynomial"):
        valley(case("bounded_surface").law, 1.0, 2.0)
