"""The analytic derivatives of every form are those of its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import Case, cases

STEP = 1e-6  # of theta


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_derivatives_agree_with_central_differences(known: Case) -> None:
    form, theta_P = known.law.form, np.asarray(known.law.theta)
    x_NK, _ = known.law.scaled({name: known.columns[name] for name in form.covariates})
    rng = np.random.default_rng(1)
    for _ in range(5):
        near_P = theta_P + rng.normal(0, 0.2, len(theta_P))
        error_RN, derivative_RNP = form.derivatives(near_P[None], x_NK)
        np.testing.assert_allclose(error_RN, form.predict(near_P[None], x_NK), rtol=1e-13)
        for parameter in range(len(theta_P)):
            step_P = STEP * np.eye(len(theta_P))[parameter]
            ahead_RN, behind_RN = (
                form.predict(near_P[None] + step_P, x_NK),
                form.predict(near_P[None] - step_P, x_NK),
            )
            difference_N = (ahead_RN - behind_RN)[0] / (2 * STEP)
            np.testing.assert_allclose(derivative_RNP[0, :, parameter], difference_N, rtol=2e-6, atol=2e-9)


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_many_laws_at_once_are_the_laws_one_by_one(known: Case) -> None:
    form, theta_P = known.law.form, np.asarray(known.law.theta)
    x_NK, _ = known.law.scaled({name: known.columns[name] for name in form.covariates})
    theta_RP = theta_P + np.random.default_rng(2).normal(0, 0.2, (4, len(theta_P)))
    error_RN, derivative_RNP = form.derivatives(theta_RP, x_NK)
    for row, one_P in enumerate(theta_RP):
        one_RN, one_RNP = form.derivatives(one_P[None], x_NK)
        np.testing.assert_allclose(error_RN[row], one_RN[0], rtol=1e-13)
        np.testing.assert_allclose(derivative_RNP[row], one_RNP[0], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_values_and_coordinates_are_inverse(known: Case) -> None:
    theta_P = np.asarray(known.law.theta)
    np.testing.assert_allclose(known.law.form.theta(known.law.form.values(theta_P)), theta_P, rtol=1e-9)


@pytest.mark.parametrize("known", cases(), ids=lambda known: known.name)
def test_a_law_far_outside_its_points_is_finite(known: Case) -> None:
    far = {name: np.asarray([1e-30, 1.0, 1e60]) for name in known.law.form.covariates}
    assert np.all(np.isfinite(known.law.predict(**far)))
