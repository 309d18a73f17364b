"""Whatever the points, a fit is a law with finite numbers or a reason in words: no exception, no warning, no NaN."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pytest
from form_cases import CEILING
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.fitting.fit import Fit, FitStatus, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions, Loss, Residual
from analysis.forms.catalogue import FORMS, form_named
from analysis.forms.form import Floats

COVARIATES = ("train_flops", "parameters", "samples_seen", "unique_samples")
KINDS = ("law", "noise", "guessing", "equal", "two values", "wide")


def covariate(rng: np.random.Generator, num: int, span: float) -> Floats:
    """A column over `span` decades: continuous, on a grid of two to six values, or constant."""
    place_N = rng.random(num)
    num_values = rng.integers(1, 8)
    if num_values < 7:
        place_N = np.round(place_N * num_values) / num_values if num_values > 1 else np.full(num, 0.5)
    return np.asarray(10 ** (rng.uniform(0, 20) + span * place_N))


def errors(rng: np.random.Generator, kind: str, x_N: Floats) -> Floats:
    """Error rates in (0, 1): lawful, all at guessing, equal, of two extremes, over many decades, or noise."""
    if kind == "equal":
        return np.full(len(x_N), 0.5)
    if kind == "guessing":
        return np.clip(CEILING + rng.normal(0, 1e-3, len(x_N)), 1e-6, 1 - 1e-9)
    if kind == "two values":
        return np.where(rng.random(len(x_N)) < 0.5, 1e-9, 1 - 1e-6)
    if kind == "wide":
        return np.asarray(10 ** rng.uniform(-40, -1e-3, len(x_N)))
    if kind == "noise":
        return rng.uniform(1e-6, 0.999, len(x_N))
    decline_N = rng.normal(0.3, 0.5) * (np.log10(x_N) - 10) / 3
    return np.clip(0.3 * 10**-decline_N + rng.normal(0, 10 ** rng.uniform(-6, -1), len(x_N)), 1e-6, 0.9999)


def checked(fit: Fit) -> None:
    """A law predicts finite errors of its own points; no law has a reason."""
    if fit.law is None:
        assert fit.reason and fit.status is not FitStatus.OK
        return
    seen = {name: fit.observations.covariates[name] for name in fit.law.form.covariates}
    evidence = fit.evidence
    assert evidence is not None and fit.form == fit.law.form
    assert np.all(np.isfinite(fit.law.predict(**seen))) and np.all(np.isfinite(list(fit.law.values.values())))
    numbers = (evidence.objective, evidence.gradient_norm, evidence.condition, evidence.residual_scale)
    assert np.all(np.isfinite(numbers)) and evidence.remaining_gain <= 1e-6 and evidence.explained_share > 0
    assert evidence.bounds_hit == () and 0 < evidence.agreeing_share <= 1 <= evidence.num_minima


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(FORMS)),
    kind=st.sampled_from(KINDS),
    residual=st.sampled_from(sorted(get_args(Residual))),
    loss=st.sampled_from(sorted(get_args(Loss))),
    num=st.sampled_from([0, 1, 2, 4, 6, 7, 9, 12, 20, 50]),
    span=st.sampled_from([0.0, 1e-6, 0.3, 3.0, 30.0]),
    weighted=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_any_points_give_a_law_or_a_reason(
    name: str, kind: str, residual: Residual, loss: Loss, num: int, span: float, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    columns = {column: covariate(rng, num, span) for column in COVARIATES}
    form = form_named(name, ceiling=CEILING)
    error_N = errors(rng, kind, columns[form.covariates[-1]])
    variance_N = 10 ** rng.uniform(-12, 0, num) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = Observations.of(error_N, variance=variance_N, **columns)
        checked(fit_form(points, form, FitOptions(residual=residual, loss=loss, num_starts=3)))


@pytest.mark.parametrize("scale", [1e-80, 1e-20, 1e20, 1e80])
def test_the_unit_of_the_error_changes_only_amplitudes_and_floor(scale: float) -> None:
    flops = np.geomspace(1e15, 1e21, 30)
    error_N = 0.2 + 0.3 * (flops / 1e18) ** -0.2 + np.random.default_rng(0).normal(0, 1e-3, 30)
    form = form_named("saturating_power")
    for loss in sorted(get_args(Loss)):
        plain, scaled = (
            fit_form(Observations.of(factor * error_N, train_flops=flops), form, FitOptions(loss=loss)).found
            for factor in (1.0, scale)
        )
        assert scaled.value("exponent_train_flops") == pytest.approx(
            plain.value("exponent_train_flops"), rel=1e-6
        )
        assert scaled.value("floor") / scale == pytest.approx(plain.value("floor"), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e200])
def test_numbers_no_fit_can_use_are_named_with_their_row(value: float) -> None:
    with pytest.raises(ValueError, match="error: every value must be .* at row 1"):
        Observations.of([0.5, value, 0.3], train_flops=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="train_flops: every value must be .* at row 2"):
        Observations.of([0.5, 0.4, 0.3], train_flops=[1.0, 2.0, value])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="parameters: .* values for 2 errors"):
        Observations.of([0.5, 0.4], parameters=[1.0, 2.0, 3.0])
