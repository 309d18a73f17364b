"""What the points do not determine is said, in words, and never returned as a number."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from form_cases import CEILING, case, design, law_of

from analysis.fitting.descent import descend
from analysis.fitting.fit import Fit, FitStatus, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.catalogue import form_named

SQUARES = FitOptions(loss="squares")
SURFACE = form_named("bounded_surface", ceiling=CEILING)


def refused(fit: Fit, status: FitStatus, words: str) -> None:
    assert fit.law is None and fit.status is status, fit
    assert words in fit.reason
    with pytest.raises(ValueError, match="no law is stated"):
        _ = fit.found


def test_no_points_and_few_points_are_too_few() -> None:
    known = case("bounded_surface")
    points = known.observations()
    refused(fit_form(points.where(np.arange(0)), SURFACE), FitStatus.TOO_FEW_POINTS, "0 points, at least 6")
    refused(fit_form(points.where(np.arange(5)), SURFACE), FitStatus.TOO_FEW_POINTS, "5 points, at least 6")


def test_seeds_of_the_same_cells_are_not_more_cells() -> None:
    points = case("saturating_power").observations(noise=1e-3)
    thrice = points.where(np.repeat([0, 30, 59], 3))
    form = form_named("saturating_power")
    refused(fit_form(thrice, form), FitStatus.TOO_FEW_POINTS, "3 distinct cells, at least 4")


def test_one_tower_is_no_surface() -> None:
    points = case("bounded_surface").observations()
    size = points.covariates["parameters"]
    refused(
        fit_form(points.where(size == size.min()), SURFACE),
        FitStatus.TOO_FEW_POINTS,
        "1 distinct value of parameters, at least 3",
    )


def test_a_break_needs_six_scales() -> None:
    points = case("power").observations().where(np.arange(0, 60, 12))
    seeds = points.where(np.repeat(np.arange(5), 4))
    refused(fit_form(seeds, form_named("broken_power")), FitStatus.TOO_FEW_POINTS, "at least 6 are needed")


def test_equal_errors_show_no_law() -> None:
    columns = design(SURFACE)
    points = Observations.of(np.full(48, 0.7), **columns)
    refused(fit_form(points, SURFACE), FitStatus.NOT_IDENTIFIED, "all errors are equal")


@pytest.mark.parametrize("form", ["bounded_surface", "additive_surface"])
def test_a_covariate_without_effect_is_named(form: str) -> None:
    columns = design(SURFACE)
    error_N = 0.1 + 0.3 * (columns["parameters"] / 6e7) ** -0.35
    points = Observations.of(error_N + np.random.default_rng(0).normal(0, 1e-3, 48), **columns)
    fit = fit_form(points, form_named(form, ceiling=CEILING), SQUARES)
    assert fit.law is None and fit.status is FitStatus.NOT_IDENTIFIED
    assert "samples_seen" in fit.reason


def test_errors_at_guessing_show_no_law() -> None:
    columns = design(SURFACE)
    error_N = np.minimum(CEILING + np.random.default_rng(0).normal(0, 5e-4, 48), 1.0)
    fit = fit_form(Observations.of(error_N, **columns), SURFACE)
    assert fit.law is None and fit.status is FitStatus.NOT_IDENTIFIED and fit.reason


def test_errors_that_rise_with_compute_show_no_law() -> None:
    flops = np.geomspace(1e15, 1e21, 20)
    points = Observations.of(0.2 + 0.02 * np.log10(flops / 1e15), train_flops=flops)
    refused(
        fit_form(points, form_named("power"), SQUARES),
        FitStatus.NOT_IDENTIFIED,
        "exponent_train_flops ended at",
    )


@pytest.mark.parametrize("form", ["saturating_power", "additive_surface", "bounded_surface", "shifted_power"])
def test_a_floor_that_ends_at_nothing_is_left_out_and_said_so(form: str) -> None:
    without = form_named({"saturating_power": "power"}.get(form, f"{form}_without_floor"), ceiling=CEILING)
    truth = law_of(without, {**case(form).law.values})
    columns = design(without)
    seen = {name: columns[name] for name in without.covariates}
    points = Observations.of(
        truth.predict(**seen) * (1 - 0.004 * np.log(columns[without.covariates[0]] / 1e8)), **columns
    )
    fit = fit_form(points, form_named(form, ceiling=CEILING), SQUARES)
    assert fit.form == without or fit.form.name == "power", fit.form.name
    assert fit.asked == form_named(form, ceiling=CEILING)
    assert fit.note.startswith("floor") and "ended at 0" in fit.note
    assert fit.law is not None and fit.law.form == fit.form


def test_unique_samples_that_are_never_repeated_do_not_show_what_repeats_are_worth() -> None:
    known = case("repeated_data_surface")
    columns = {**known.columns, "unique_samples": known.columns["samples_seen"]}
    error_N = known.law.predict(**columns)
    fit = fit_form(Observations.of(error_N, **columns), known.law.form, SQUARES)
    refused(fit, FitStatus.NOT_IDENTIFIED, "repeats_samples_seen")


def test_percentages_are_not_taken_for_fractions() -> None:
    known = case("bounded_surface")
    with pytest.raises(ValueError, match="errors are fractions of at most 1, not 63"):
        fit_form(Observations.of(100 * known.error_N, **known.columns), SURFACE)


def test_a_covariate_the_points_lack_is_named() -> None:
    points = Observations.of([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1], parameters=[1, 2, 3, 4, 5, 6, 7])
    with pytest.raises(ValueError, match=r"bounded_surface needs \['samples_seen'\]"):
        fit_form(points, SURFACE)


def test_a_law_comes_with_its_evidence() -> None:
    fit = fit_form(case("bounded_surface").observations(noise=1e-3), SURFACE)
    assert fit.evidence is not None
    assert fit.evidence.remaining_gain < 1e-9 and fit.evidence.gradient_norm < 1e-6
    assert fit.evidence.agreeing_share == 1.0 and fit.evidence.num_minima == 1
    assert fit.evidence.bounds_hit == () and 1 < fit.evidence.condition < 1e4
    assert fit.evidence.explained_share > 0.98 and fit.evidence.degrees_of_freedom == 43


def test_a_descent_that_is_cut_short_is_stuck_and_states_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.fitting.search.descend", functools.partial(descend, max_steps=1))
    monkeypatch.setattr("analysis.fitting.polish.MAX_STEPS", 0)
    monkeypatch.setattr("analysis.fitting.search.STAGE_STEPS", 1)
    fit = fit_form(
        case("coupled_bounded_surface").observations(noise=1e-3), case("coupled_bounded_surface").law.form
    )
    refused(fit, FitStatus.STUCK, "the optimiser stopped where the objective can still fall by")
    assert fit.evidence is not None and fit.evidence.remaining_gain > 1e-6


def test_references_of_samples_seen_and_unique_are_one() -> None:
    known = case("repeated_data_surface")
    references = fit_form(known.observations(), known.law.form, SQUARES).found.references
    assert references["unique_samples"] == references["samples_seen"]
    with pytest.raises(ValueError, match="unique_samples and samples_seen need one reference"):
        fit_form(
            known.observations(),
            known.law.form,
            references={"parameters": 1.0, "samples_seen": 1.0, "unique_samples": 2.0},
        )


def test_the_robust_scale_is_the_standard_deviation_of_the_noise() -> None:
    fits = [fit_form(case("bounded_surface").observations(1e-3, seed), SURFACE) for seed in range(12)]
    evidence = [fit.evidence for fit in fits if fit.evidence is not None]
    assert np.mean([one.residual_scale for one in evidence]) == pytest.approx(1e-3, rel=0.15)
    assert np.mean([one.huber_delta or 0.0 for one in evidence]) == pytest.approx(1.345e-3, rel=0.2)


def test_a_law_that_explains_less_than_a_constant_is_none() -> None:
    flops = np.geomspace(1e15, 1e21, 20)
    error_N = np.random.default_rng(1).choice([0.3, 0.9, 0.99], 20)
    # of two classes: most errors are above guessing
    form = form_named("bounded_power_without_floor", ceiling=0.5)
    fit = fit_form(Observations.of(error_N, train_flops=flops), form, SQUARES)
    refused(fit, FitStatus.NOT_IDENTIFIED, "a constant error describes the points as well")


def test_the_order_of_the_points_changes_nothing() -> None:
    points = case("bounded_surface").observations(noise=1e-3)
    shuffled = points.where(np.random.default_rng(0).permutation(len(points)))
    one, other = (fit_form(chosen, SURFACE).found.values for chosen in (points, shuffled))
    assert one == pytest.approx(other, rel=1e-6)


def test_the_unit_of_a_covariate_changes_nothing() -> None:
    known = case("bounded_surface")
    points = known.observations(noise=1e-3)
    scaled = Observations.of(
        points.error_N, **{name: values * 1e-6 for name, values in points.covariates.items()}
    )
    one, other = (fit_form(chosen, SURFACE).found.values for chosen in (points, scaled))
    assert one == pytest.approx(other, rel=1e-7)
