"""Profile likelihood: the F interval where that is exact, open sides where the points bound nothing, published data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from simulated_cells import SURFACE, TRUE_VALUES, cells, power_runs

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.catalogue import form_named
from analysis.forms.pinned import Pinned
from analysis.forms.powers import PowerSum
from analysis.intervals.asked import problem_of
from analysis.intervals.clusters import clusters_of
from analysis.intervals.profile import profile
from analysis.intervals.wild import refit

POWER = PowerSum(("train_flops",), 0.0)
EXPONENT = "exponent_train_flops"
LOG_SQUARES = FitOptions(residual="log_error", loss="squares")


def straight_line(points: Observations) -> tuple[float, float]:
    """Exponent and its standard error by textbook least squares in logarithms."""
    x_N, y_N = np.log(points.covariates["train_flops"]), np.log(points.error_N)
    x_N = x_N - x_N.mean()
    slope = float(x_N @ y_N / (x_N @ x_N))
    residual_N = y_N - y_N.mean() - slope * x_N
    return -slope, math.sqrt(float(residual_N @ residual_N) / (len(x_N) - 2) / float(x_N @ x_N))


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_the_interval_of_a_linear_parameter_is_that_of_the_t_test(level: float) -> None:
    points = power_runs(seed=2, cluster_sizes=(1,) * 14)
    estimate, se = straight_line(points)
    found = profile(fit_form(points, POWER, LOG_SQUARES), EXPONENT, level=level).interval
    reach = t.ppf((1 + level) / 2, 12) * se
    assert found.estimate == pytest.approx(estimate, rel=1e-6)
    assert (found.lower, found.upper) == pytest.approx((estimate - reach, estimate + reach), rel=1e-3)


def test_with_seeds_in_clusters_it_is_that_of_the_cluster_robust_variance() -> None:
    fit = fit_form(power_runs(seed=4, cluster_sizes=(1, 2, 3, 2, 4, 1, 2, 3, 2, 5)), POWER, LOG_SQUARES)
    clusters = clusters_of(fit, problem_of(fit))
    exponent = fit.found.value(EXPONENT)
    freedom = refit(fit, num_refits=20).degrees_of_freedom(lambda theta_RP: theta_RP[:, 1])[0]
    reach = t.ppf(0.975, freedom) * math.sqrt(clusters.covariance()[1, 1]) * exponent
    found = profile(fit, EXPONENT).interval
    assert (found.lower, found.upper) == pytest.approx((exponent - reach, exponent + reach), rel=1e-3)


def test_the_profile_is_least_at_the_estimate_and_the_interval_is_where_it_is_below_the_threshold() -> None:
    fit = fit_form(cells(40, seed=0, num_seeds=1), SURFACE)
    found = profile(fit, "floor")
    assert fit.evidence is not None and np.all(np.diff(found.grid_G) > 0)
    assert found.objective_G.min() == pytest.approx(fit.evidence.objective, rel=1e-9)
    assert found.grid_G[found.objective_G.argmin()] == pytest.approx(fit.found.value("floor"), rel=1e-3)
    below_G = found.objective_G <= found.threshold
    assert found.interval.lower is not None and found.interval.upper is not None
    inside_G = (found.grid_G >= found.interval.lower) & (found.grid_G <= found.interval.upper)
    np.testing.assert_array_equal(below_G, inside_G)
    assert found.interval.contains(TRUE_VALUES["floor"])


def test_every_value_is_as_good_as_a_fit_with_the_parameter_pinned_there() -> None:
    fit = fit_form(cells(15, seed=3), SURFACE, FitOptions(loss="squares"))
    found = profile(fit, "floor")
    for index in range(5, len(found.grid_G) - 5, 12):
        pinned = fit_form(
            fit.observations, Pinned(SURFACE, (("floor", float(found.grid_G[index])),)), fit.options
        )
        assert pinned.evidence is not None
        assert found.objective_G[index] <= pinned.evidence.objective * (1 + 1e-9)


def test_a_floor_far_below_the_points_is_open_below() -> None:
    points = power_runs(seed=1, cluster_sizes=(1,) * 30)
    fit = fit_form(points, PowerSum(("train_flops",)), LOG_SQUARES)
    interval = profile(fit, "floor").interval
    assert interval.lower is None and interval.reason == "not bounded below by the points"
    assert interval.upper is not None and 0 < interval.upper < points.error_N.min() * 1.2
    assert not interval.identified


def test_huber_and_absolute_profiles_are_close_to_that_of_squares_without_outliers() -> None:
    points = power_runs(seed=6, cluster_sizes=(1,) * 200)
    losses: tuple[FitOptions, ...] = (
        LOG_SQUARES,
        FitOptions(residual="log_error", loss="huber"),
        FitOptions(residual="log_error", loss="absolute"),
    )
    widths = []
    for options in losses:
        found = profile(fit_form(points, POWER, options), EXPONENT).interval
        assert found.contains(0.25) and found.lower is not None and found.upper is not None
        widths.append(found.upper - found.lower)
    assert widths[1] == pytest.approx(widths[0], rel=0.15)  # 95 % efficient
    assert 1.0 < widths[2] / widths[0] < 1.6  # absolute values: sqrt(pi / 2) = 1.25 under normal noise


def test_an_outlier_widens_a_huber_profile_less_than_one_of_squares() -> None:
    points = power_runs(seed=6, cluster_sizes=(1,) * 40)
    spoiled = dataclasses.replace(points, error_N=np.where(np.arange(40) == 7, 3.0, 1.0) * points.error_N)
    widths = []
    for loss in ("squares", "huber"):
        options = dataclasses.replace(LOG_SQUARES, loss=loss)  # type: ignore[arg-type]
        found = profile(fit_form(spoiled, POWER, options), EXPONENT).interval
        assert found.lower is not None and found.upper is not None
        widths.append(found.upper - found.lower)
    assert widths[1] < 0.5 * widths[0]


def test_a_fit_that_is_not_at_its_minimum_is_called_into_question() -> None:
    fit = fit_form(power_runs(seed=2, cluster_sizes=(1,) * 14), POWER, LOG_SQUARES)
    theta_P = np.asarray(fit.found.theta) + np.asarray([0.05, 0.0])
    moved = dataclasses.replace(fit, law=dataclasses.replace(fit.found, theta=tuple(theta_P)))
    found = profile(moved, EXPONENT).interval
    assert (found.lower, found.upper) == (None, None) and "fit again" in found.reason


def test_seven_clusters_give_no_profile_interval_but_the_profile_itself() -> None:
    found = profile(fit_form(power_runs(seed=2, cluster_sizes=(3,) * 7), POWER, LOG_SQUARES), EXPONENT)
    assert "7 clusters" in found.interval.reason and found.interval.lower is None
    assert found.objective_G.max() > found.objective_G.min()


def test_an_unknown_parameter_is_refused() -> None:
    fit = fit_form(power_runs(seed=2, cluster_sizes=(1,) * 14), POWER, LOG_SQUARES)
    with pytest.raises(ValueError, match="not 'alpha'"):
        profile(fit, "alpha")


# Muennighoff 2023, table of the base law: logarithms of A, B, E, and the one exponent of both terms
BASE = {
    "scale_parameters": math.exp(6.255414),
    "scale_samples_seen": math.exp(7.3049974),
    "exponent_parameters": 0.3526596,
    "exponent_samples_seen": 0.3526596,
    "floor": math.exp(0.6254804),
}
PUBLISHED_REPEATS = 15.387756


def repeated_data_fit(folder: Path) -> Fit:
    runs = pd.read_csv(folder / "muennighoff" / "datablations_runs.csv")
    runs = runs[runs["used_in_published_fit"]]
    points = Observations.of(
        runs["val_loss"],
        parameters=runs["params"],
        samples_seen=runs["tokens"],
        unique_samples=runs["unique_tokens"],
    )
    return fit_form(
        points,
        Pinned(form_named("repeated_data_surface"), tuple(BASE.items())),
        FitOptions(residual="log_error", loss="huber", huber_delta=1e-3),
        references=dict.fromkeys(("parameters", "samples_seen", "unique_samples"), 1.0),
    )


def test_published_repeats_are_inside_an_interval_that_is_open_above(
    shared_data: Callable[[str], Path],
) -> None:
    """Muennighoff's R_D* of 15.39: from there to 200 repeats the objective changes by a quarter of a percent."""
    fit = repeated_data_fit(shared_data("scaling_laws"))
    found = profile(fit, "repeats_samples_seen")
    assert found.interval.contains(PUBLISHED_REPEATS)
    assert found.interval.upper is None and found.interval.lower is not None
    assert not found.interval.identified and "not bounded above" in found.interval.reason
    near_G = (found.grid_G > PUBLISHED_REPEATS) & (found.grid_G < 200)
    assert near_G.sum() > 5 and found.objective_G[near_G].max() < 1.003 * found.objective_G.min()
    scanned_G = [scanned(fit, repeats) for repeats in found.grid_G[near_G]]
    np.testing.assert_allclose(found.objective_G[near_G], scanned_G, rtol=1e-5)


def scanned(fit: Fit, repeats: float) -> float:
    """The least objective at a value of R_D*, by trying 3,000 values of the only other parameter."""
    other_R = np.geomspace(0.1, 100, 3000)
    theta_RP = np.log(np.stack([np.full(3000, repeats), other_R], axis=1))
    residual_RN = np.abs(problem_of(fit).residuals(theta_RP))
    huber_RN = np.where(residual_RN <= 1e-3, residual_RN**2 / 2, 1e-3 * (residual_RN - 5e-4))
    return float(huber_RN.sum(axis=1).min())
