"""A fit is shown beside what it would be with other Huber deltas."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import case

from analysis.fitting.fit import FitStatus, fit_form
from analysis.fitting.options import FitOptions
from analysis.fitting.sensitivity import SCALES, delta_sensitivity


def test_a_wide_delta_is_least_squares_and_a_narrow_one_absolute_values() -> None:
    known = case("saturating_power")
    points = known.observations(noise=3e-3)
    fit = fit_form(points, known.law.form)
    rows = delta_sensitivity(fit, deltas=[1.0, 1e-8])
    assert [row.huber_delta for row in rows] == [1e-8, 1.0]
    for row, loss in zip(rows, ("absolute", "squares"), strict=True):
        limit = fit_form(points, known.law.form, FitOptions(loss=loss))  # type: ignore[arg-type]
        assert row.fit.found.values == pytest.approx(limit.found.values, rel=1e-4)


def test_the_default_deltas_surround_the_fit() -> None:
    known = case("bounded_surface")
    fit = fit_form(known.observations(noise=3e-3), known.law.form)
    rows = delta_sensitivity(fit)
    assert len(rows) == len(SCALES) and all(row.fit.status is FitStatus.OK for row in rows)
    exponents = [row.fit.found.value("exponent_parameters") for row in rows]
    assert min(exponents) <= fit.found.value("exponent_parameters") <= max(exponents)
    assert np.ptp(exponents) > 0


def test_deltas_are_positive() -> None:
    known = case("saturating_power")
    with pytest.raises(ValueError, match="deltas must be positive"):
        delta_sensitivity(fit_form(known.observations(noise=1e-3), known.law.form), deltas=[0.0, 1.0])
