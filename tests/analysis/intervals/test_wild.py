"""The wild cluster bootstrap: against CR2 on a straight line, its draws, its refusals, and what it covers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import t
from simulated_cells import SURFACE, TRUE_LAW, TRUE_VALUES, at, cells, power_runs

from analysis.fitting import descent
from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.form import Floats, Law
from analysis.forms.powers import PowerSum
from analysis.intervals import refitting, wild
from analysis.intervals.wild import Quantity, refit, wild_draws

SQUARES = FitOptions(loss="squares")
LOG_SQUARES = FitOptions(residual="log_error", loss="squares")
POWER = PowerSum(("train_flops",), 0.0)
EXPONENT = "exponent_train_flops"


def power_fit(seed: int = 3, sizes: tuple[int, ...] = (1, 2, 3, 2, 4, 1, 2, 3, 2, 5)) -> Fit:
    return fit_form(power_runs(seed=seed, cluster_sizes=sizes), POWER, LOG_SQUARES)


def exponent(theta_RP: Floats) -> Floats:
    return np.exp(theta_RP[:, 1])


def errors_at(law: Law, **covariates: list[float]) -> Quantity:
    x_MK = at(law, **covariates)
    return lambda theta_RP: law.form.predict(theta_RP, x_MK)


def test_the_interval_of_an_exponent_is_cr2_with_satterthwaites_t() -> None:
    fit = power_fit()
    refits = refit(fit, num_refits=8000)
    assert refits.clusters is not None
    # held to a direct formula apart
    se = np.sqrt(refits.clusters.covariance()[1, 1]) * fit.found.value(EXPONENT)
    interval = refits.interval(exponent)
    freedom = float(refits.degrees_of_freedom(exponent)[0])
    assert 1 < freedom < 9
    reach = t.ppf(0.975, freedom) * se
    assert interval.lower == pytest.approx(interval.estimate - reach, abs=0.05 * reach)
    assert interval.upper == pytest.approx(interval.estimate + reach, abs=0.05 * reach)


def test_a_label_has_the_same_signs_in_every_fit_that_shares_the_draws() -> None:
    draws = wild_draws(["s/1B", "b/1B", "l/1B", "s/4B"], num_refits=50, seed=4)
    np.testing.assert_array_equal(draws.of(["l/1B", "s/1B"])[:, 1], draws.of(["s/1B", "s/4B"])[:, 0])
    with pytest.raises(ValueError, match="no draws for clusters.*h/1B"):
        draws.of(["s/1B", "h/1B"])


def test_draws_do_not_hang_on_the_order_of_labels_but_on_the_seed() -> None:
    labels = [f"cell {index}" for index in range(20)]
    forth, back = wild_draws(labels, 30, 1), wild_draws(labels[::-1] + labels, 30, 1)
    np.testing.assert_array_equal(forth.of(labels), back.of(labels))
    assert not np.array_equal(forth.of(labels), wild_draws(labels, 30, 2).of(labels))


@pytest.mark.parametrize(("num_labels", "num_values"), [(11, 6), (12, 2)])
def test_few_clusters_are_drawn_from_webbs_six_points(num_labels: int, num_values: int) -> None:
    signs = wild_draws([str(label) for label in range(num_labels)], num_refits=20_000).sign_RL
    assert len(np.unique(signs)) == num_values
    np.testing.assert_allclose(signs.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose((signs**2).mean(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(signs.T) - np.eye(num_labels), 0, atol=0.04)


def test_the_same_seed_gives_the_same_refits() -> None:
    fit = power_fit()
    np.testing.assert_array_equal(
        refit(fit, num_refits=20, seed=7).theta_RP, refit(fit, num_refits=20, seed=7).theta_RP
    )


def test_seven_clusters_are_not_identified_rather_than_narrow() -> None:
    fit = power_fit(sizes=(4,) * 7)
    refits = refit(fit)
    found = refits.parameter(EXPONENT)
    assert (found.lower, found.upper) == (None, None) and "7 clusters" in found.reason
    assert found.estimate == fit.found.value(EXPONENT)
    band = refits.curve(errors_at(fit.found, train_flops=[1e18, 1e21]))
    assert np.all(np.isinf(band.upper_M)) and "7 clusters" in band.reason
    assert refit(power_fit(sizes=(4,) * 8)).parameter(EXPONENT).identified


def test_a_fit_without_a_law_has_no_refits_but_its_reason() -> None:
    runs = power_runs(seed=0, cluster_sizes=(1,) * 10)
    fit = fit_form(runs.where(np.arange(10) < 2), POWER, LOG_SQUARES)
    assert fit.law is None
    assert fit.reason in refit(fit).reason


def test_refits_that_reach_no_minimum_are_counted_and_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def impatient(*args: object) -> descent.Minima:
        minima = refitting.refitted(*args)  # type: ignore[arg-type]
        gradient_R = np.where(np.arange(len(minima.gradient_R)) % 10 < share, 1.0, 0.0)
        return dataclasses.replace(minima, gradient_R=gradient_R)

    monkeypatch.setattr(wild, "refitted", impatient)
    share = 1
    refits = refit(power_fit(), num_refits=100)
    assert refits.failed_share == 0.1 and len(refits.kept_RP) == 90
    assert "10% of the refits reached no minimum" in refits.parameter(EXPONENT).reason


def test_a_floor_that_refits_find_at_zero_is_open_below_and_their_share_is_told() -> None:
    """The stated law of such a fit has no floor at all, and yet the floor is only known to be small."""
    no_floor = Law(
        form=SURFACE,
        theta=tuple(SURFACE.theta({**TRUE_VALUES, "floor": 1e-4})),
        references=TRUE_LAW.references,
    )
    seed = next(
        seed for seed in range(20) if fit_form(cells(15, seed=seed, law=no_floor), SURFACE, SQUARES).asked
    )
    refits = refit(fit_form(cells(15, seed=seed, law=no_floor), SURFACE, SQUARES), num_refits=300)
    assert refits.fit.form == SURFACE and refits.theta_RP.shape == (300, 5)
    assert 0.2 < refits.bound_shares["floor"] < 0.9
    floor = refits.parameter("floor")
    assert floor.lower is None and floor.reason == "not bounded below by the points"
    assert floor.upper is not None and 0.01 < floor.upper < 0.4


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="scale_train_flops.*not 'alpha'"):
        refit(power_fit()).parameter("alpha")


def test_seeds_of_a_cell_do_not_count_as_evidence_of_their_own() -> None:
    """Every run twice, word for word: with the pair as the cluster nothing is learnt by it."""
    once = power_runs(seed=5, cluster_sizes=(1,) * 20)
    rows = np.repeat(np.arange(20), 2)
    twice = Observations.of(
        once.error_N[rows],
        clusters=[once.clusters[row] for row in rows],
        train_flops=once.covariates["train_flops"][rows],
    )
    bands = [
        refit(fit_form(points, POWER, LOG_SQUARES)).parameter(EXPONENT)
        for points in (once, twice, dataclasses.replace(twice, clusters=tuple(map(str, range(40)))))
    ]
    widths = [(band.upper or np.inf) - (band.lower or -np.inf) for band in bands]
    assert widths[1] == pytest.approx(widths[0], rel=1e-3)
    assert widths[2] < 0.8 * widths[0]


def test_a_band_for_the_whole_curve_contains_the_one_for_each_point() -> None:
    fit = fit_form(cells(40, seed=1), SURFACE)
    curve = errors_at(fit.found, parameters=[1e7, 6e7, 6e8, 6e9], samples_seen=[1e8, 1e9, 1e10, 1e11])
    refits = refit(fit, num_refits=400)
    pointwise, whole = refits.curve(curve), refits.curve(curve, simultaneous=True)
    assert np.all(whole.lower_M < pointwise.lower_M) and np.all(pointwise.upper_M < whole.upper_M)
    assert whole.simultaneous and not pointwise.simultaneous


def test_wild_bootstrap_is_right_about_heavy_noise_in_part_of_the_points() -> None:
    """HC2 knows where the noise is: a slope carried by noisy ends is less certain than the same noise in the middle."""
    compute_N = np.geomspace(1e17, 1e21, 41)
    x_N = np.linspace(-1, 1, 41)
    rng = np.random.default_rng(0)
    widths = []
    for noise_N in (0.005 + 0.05 * np.abs(x_N), 0.055 - 0.05 * np.abs(x_N)):
        error_N = 0.3 * (compute_N / 1e19) ** -0.2 * np.exp(rng.normal(0, noise_N))
        fit = fit_form(Observations.of(error_N, train_flops=compute_N), POWER, LOG_SQUARES)
        found = refit(fit, num_refits=500).interval(exponent)
        widths.append((found.upper or np.inf) - (found.lower or -np.inf))
    assert widths[0] > 1.5 * widths[1]
