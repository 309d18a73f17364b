"""Influence of single runs and cells, against fits to the remaining points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from simulated_cells import SURFACE, cells, power_runs

from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.form import Floats
from analysis.forms.powers import PowerSum
from analysis.intervals.influence import influence

POWER = PowerSum(("train_flops",), 0.0)
SQUARES = FitOptions(loss="squares")
LOG_SQUARES = FitOptions(residual="log_error", loss="squares")


def exponent(theta_RP: Floats) -> Floats:
    return np.exp(theta_RP[:, 1])


def test_a_change_is_that_of_a_fit_to_the_remaining_points() -> None:
    points = dataclasses.replace(cells(15, seed=0), run_ids=tuple(f"run {index}" for index in range(30)))
    fit = fit_form(points, SURFACE, SQUARES)
    table = influence(fit, lambda theta_RP: np.exp(theta_RP[:, 2]))
    assert list(table["run_id"]) == list(points.run_ids) and list(table["cluster"]) == list(points.clusters)
    for row in (0, 13, 29):
        without_run = fit_form(points.where(np.arange(30) != row), SURFACE, SQUARES)
        same_cell_N = np.asarray(points.clusters) == points.clusters[row]
        without_cell = fit_form(points.where(~same_cell_N), SURFACE, SQUARES)
        for column, fewer in (("change_without_run", without_run), ("change_without_cluster", without_cell)):
            change = fewer.found.value("exponent_parameters") - fit.found.value("exponent_parameters")
            assert table[column][row] == pytest.approx(change, rel=1e-4, abs=1e-7)


def test_the_run_that_was_mistyped_stands_out() -> None:
    points = power_runs(seed=0, cluster_sizes=(2,) * 12)
    last = int(np.argmax(points.covariates["train_flops"]))
    spoiled = dataclasses.replace(points, error_N=np.where(np.arange(24) == last, 2.0, 1.0) * points.error_N)
    table = influence(fit_form(spoiled, POWER, LOG_SQUARES), exponent)
    assert table["change_without_run"].abs().idxmax() == last
    assert table["change_without_run"][last] > 0  # without it the law is steeper


def test_a_run_without_which_nothing_is_determined_has_no_change() -> None:
    """All but one run at one compute: without it there is no slope."""
    compute_N = np.append(np.full(9, 1e18), [1e20, 1e20, 1e21])
    error_N = 0.4 * (compute_N / 1e19) ** -0.25 * np.exp(np.random.default_rng(0).normal(0, 0.02, 12))
    labels = [*map(str, range(9)), "far", "far", "far"]
    fit = fit_form(Observations.of(error_N, clusters=labels, train_flops=compute_N), POWER, LOG_SQUARES)
    table = influence(fit, exponent)
    assert table["change_without_cluster"].isna().tolist() == [False] * 9 + [True] * 3
    assert table["change_without_run"].notna().all()
    assert table["leverage"].iloc[-1] > 0.999
