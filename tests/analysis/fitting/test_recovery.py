"""Each law recovers itself: exactly without noise, and within its profile's bounds with noise."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from form_cases import Case, case, cases
from scipy.stats import f as fisher

from analysis.fitting.fit import Fit, FitStatus, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions, Loss, Residual
from analysis.forms.pinned import Pinned

EXACT = 1e-6  # relative
SURE = 0.9999  # of the profile's bounds: 18 laws of up to 7 parameters


def fitted(known: Case, points: Observations, options: FitOptions) -> Fit:
    fit = fit_form(points, known.law.form, options, references=known.law.references)
    assert fit.status is FitStatus.OK, fit.reason
    assert fit.asked is None, fit.note
    return fit


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_a_law_without_noise_is_found_to_six_digits(known: Case) -> None:
    fit = fitted(known, known.observations(), FitOptions(loss="squares"))
    for name, value in known.law.values.items():
        assert fit.found.value(name) == pytest.approx(value, rel=EXACT), name


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_a_robust_fit_without_noise_is_the_same(known: Case) -> None:
    fit = fitted(known, known.observations(), FitOptions())
    np.testing.assert_allclose(fit.found.predict(**columns(known)), known.error_N, rtol=EXACT)


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_with_noise_the_truth_lies_within_the_bounds_of_every_profile(known: Case) -> None:
    points, options = known.observations(noise=1e-3), FitOptions(loss="squares")
    fit = fitted(known, points, options)
    assert fit.evidence is not None
    freedom = fit.evidence.degrees_of_freedom
    for name in known.law.form.parameters:
        if isinstance(known.law.form, Pinned):
            continue
        pinned = Pinned(known.law.form, ((name, known.law.value(name)),))
        beside = fit_form(points, pinned, options, references=known.law.references)
        assert beside.evidence is not None, beside.reason
        increase = (beside.evidence.objective - fit.evidence.objective) / fit.evidence.objective * freedom
        assert -1e-6 <= increase <= fisher.ppf(SURE, 1, freedom), name


@pytest.mark.parametrize("residual", get_args(Residual))
def test_every_residual_recovers_a_bounded_surface(residual: Residual) -> None:
    known = case("bounded_surface")
    fit = fitted(known, known.observations(), FitOptions(residual=residual, loss="squares"))
    np.testing.assert_allclose(fit.found.predict(**columns(known)), known.error_N, rtol=EXACT)


def test_gross_errors_in_a_tenth_of_the_points_hardly_move_a_robust_fit() -> None:
    known = case("bounded_surface")
    spoiled_N = known.observations(noise=1e-3).error_N + 0.2 * (np.arange(len(known.error_N)) % 10 == 3)
    spoiled = Observations.of(np.minimum(spoiled_N, 1.0), **known.columns)
    away = {}
    for loss in get_args(Loss):
        fit = fit_form(spoiled, known.law.form, FitOptions(loss=loss))
        away[loss] = np.abs(fit.found.predict(**columns(known)) - known.error_N).max()
    assert away["squares"] > 0.02 and away["huber"] < 0.006 and away["absolute"] < 0.006


def test_points_of_known_variance_count_by_it() -> None:
    known = case("bounded_surface")
    noise_N = np.where(np.arange(len(known.error_N)) % 2 == 0, 1e-4, 2e-2)
    error_N = known.error_N + np.random.default_rng(3).normal(0, noise_N)
    options = FitOptions(loss="squares")
    weighted = Observations.of(error_N, variance=noise_N**2, **known.columns)
    plain = Observations.of(error_N, **known.columns)
    away = [
        np.abs(fitted(known, points, options).found.predict(**columns(known)) - known.error_N).max()
        for points in (weighted, plain)
    ]
    assert away[0] < 3e-4 < 2e-3 < away[1]


def test_the_amplitude_of_bare_units_is_that_of_other_references() -> None:
    known = case("additive_surface")
    bare = fit_form(
        known.observations(),
        known.law.form,
        FitOptions(loss="squares"),
        references={"parameters": 1.0, "samples_seen": 1.0},
    )
    for covariate in ("parameters", "samples_seen"):
        assert bare.found.amplitude(covariate) == pytest.approx(known.law.amplitude(covariate), rel=1e-5)


def columns(known: Case) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return {name: known.columns[name] for name in known.law.form.covariates}
