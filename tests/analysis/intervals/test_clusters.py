"""Cluster corrections against direct formulas on a power law, which is a straight line in logarithms."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_cells import cells, power_runs

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.forms.powers import PowerSum
from analysis.intervals.clusters import Clusters, clusters_of, degrees_of_freedom
from analysis.intervals.wild import refit

LOG_SQUARES = FitOptions(residual="log_error", loss="squares")
SIZES = (1, 2, 3, 2, 4, 1, 2, 3, 2, 5)


def power_fit(observations: Observations, options: FitOptions = LOG_SQUARES) -> Fit:
    fit = fit_form(observations, PowerSum(("train_flops",), 0.0), options)
    assert fit.law is not None
    return fit


def clusters_and_fit(fit: Fit) -> Clusters:
    return clusters_of(
        fit, Problem.of(fit.observations, fit.form, fit.options, references=fit.found.references)
    )


def straight_line(observations: Observations) -> tuple[Floats, Floats, Floats]:
    """Design [N, 2], its hat matrix [N, N] and residuals [N] of log error on log compute, by textbook least squares."""
    log_compute_N = np.log(observations.covariates["train_flops"])
    design_N2 = np.stack([np.ones(len(observations)), log_compute_N - log_compute_N.mean()], axis=1)
    hat_NN = design_N2 @ np.linalg.solve(design_N2.T @ design_N2, design_N2.T)
    log_error_N = np.log(observations.error_N)
    return design_N2, hat_NN, log_error_N - hat_NN @ log_error_N


def cr2_by_hand(observations: Observations) -> tuple[float, float]:
    """CR2 variance of the slope and Satterthwaite's degrees of freedom, from eigenvalues of the quadratic form."""
    design_N2, hat_NN, residual_N = straight_line(observations)
    bread_22 = np.linalg.inv(design_N2.T @ design_N2)
    labels = np.asarray(observations.clusters)
    form_NN, variance = np.zeros_like(hat_NN), 0.0
    for label in sorted(set(labels)):
        mine = np.flatnonzero(labels == label)
        value, vector = np.linalg.eigh(np.eye(len(mine)) - hat_NN[np.ix_(mine, mine)])
        root = vector @ np.diag(value**-0.5) @ vector.T
        weight_n = bread_22[1] @ design_N2[mine].T @ root
        variance += float(weight_n @ residual_N[mine]) ** 2
        by_point_N = weight_n @ (np.eye(len(labels)) - hat_NN)[mine]
        form_NN += np.outer(by_point_N, by_point_N)
    eigenvalues = np.linalg.eigvalsh(form_NN)
    return variance, float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


@pytest.mark.parametrize("sizes", [SIZES, (1,) * 25])
def test_the_variance_of_an_exponent_is_the_cluster_form_of_hc2(sizes: tuple[int, ...]) -> None:
    observations = power_runs(seed=3, cluster_sizes=sizes)
    fit = power_fit(observations)
    clusters = clusters_and_fit(fit)
    variance, freedom = cr2_by_hand(observations)
    exponent = fit.found.value("exponent_train_flops")  # its coordinate is its logarithm
    assert clusters.covariance()[1, 1] * exponent**2 == pytest.approx(variance, rel=1e-6)
    assert degrees_of_freedom(clusters.loading(np.asarray([0.0, 1.0]))) == pytest.approx(freedom, rel=1e-6)


def test_degrees_of_freedom_are_at_most_clusters_less_one_and_few_where_one_cluster_decides() -> None:
    even = power_runs(seed=0, cluster_sizes=(2,) * 20)
    far = np.append(even.covariates["train_flops"], [1e29, 1e29])
    lopsided = Observations.of(
        np.append(even.error_N, 0.4 * (1e29 / 1e19) ** -0.25 * np.asarray([1.01, 0.99])),
        clusters=[*even.clusters, "far", "far"],
        train_flops=far,
    )
    gradient_P = np.asarray([0.0, 1.0])
    evenly = degrees_of_freedom(clusters_and_fit(power_fit(even)).loading(gradient_P))
    by_one = degrees_of_freedom(clusters_and_fit(power_fit(lopsided)).loading(gradient_P))
    assert by_one < 4 < evenly <= 19


def test_the_noise_of_a_run_is_found_whatever_the_leverage() -> None:
    variances = [
        clusters_and_fit(power_fit(power_runs(seed=seed, cluster_sizes=(1,) * 6))).noise_variance
        for seed in range(200)
    ]
    assert np.mean(variances) == pytest.approx(0.03**2 + 0.02**2, rel=0.1)


def test_a_cluster_that_alone_determines_the_law_is_named() -> None:
    compute_N = np.append(1e18 * np.linspace(1, 1.001, 11), 1e21)
    error_N = 0.4 * (compute_N / 1e19) ** -0.25 * np.exp(np.random.default_rng(0).normal(0, 0.02, 12))
    labels = [*(f"near {index}" for index in range(11)), "far"]
    fit = power_fit(Observations.of(error_N, clusters=labels, train_flops=compute_N))
    assert clusters_and_fit(fit).alone == ("far",)
    refits = refit(fit)
    assert "far alone determines part of the law" in refits.reason
    assert not refits.parameter("exponent_train_flops").identified


def test_huber_with_a_wide_delta_counts_residuals_as_squares_do() -> None:
    observations = cells(15, seed=0)
    form = PowerSum(("parameters", "samples_seen"))
    squares = clusters_and_fit(fit_form(observations, form, FitOptions(loss="squares")))
    huber = clusters_and_fit(fit_form(observations, form, FitOptions(loss="huber", huber_delta=1.0)))
    np.testing.assert_allclose(huber.corrected_N, squares.corrected_N, rtol=1e-4, atol=1e-7)
