"""The nonparametric bootstrap, for the reproduction of published intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_cells import power_runs

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.form import Floats
from analysis.forms.powers import PowerSum
from analysis.intervals.resampling import resample

POWER = PowerSum(("train_flops",), 0.0)
SURFACE = PowerSum(("parameters", "samples_seen"))
# Besiroglu 2024, their notebook: 95 % percentiles of 4,000 refits to resampled points
PUBLISHED = {
    "A": (285.0, 744.0),
    "B": (1042.0, 5810.0),
    "E": (1.769, 1.871),
    "alpha": (0.317, 0.373),
    "beta": (0.331, 0.415),
}


def chinchilla_fit(folder: Path) -> Fit:
    runs = pd.read_csv(folder / "epoch_chinchilla" / "svg_extracted_data.csv").sort_values("loss").iloc[:-5]
    parameters, flops = runs["Model Size"].to_numpy(), runs["Training FLOP"].to_numpy()
    points = Observations.of(runs["loss"], parameters=parameters, samples_seen=flops / (6 * parameters))
    return fit_form(points, SURFACE, FitOptions(residual="log_error", loss="huber", huber_delta=1e-3))


def chinchilla_quantities(fit: Fit) -> dict[str, Callable[[Floats], Floats]]:
    """Their five numbers of theta: log scales, log exponents, log floor."""
    log_reference = {name: math.log(value) for name, value in fit.found.references.items()}
    return {
        "A": lambda theta_RP: np.exp(theta_RP[:, 0] + np.exp(theta_RP[:, 2]) * log_reference["parameters"]),
        "B": lambda theta_RP: np.exp(theta_RP[:, 1] + np.exp(theta_RP[:, 3]) * log_reference["samples_seen"]),
        "E": lambda theta_RP: np.exp(theta_RP[:, 4]),
        "alpha": lambda theta_RP: np.exp(theta_RP[:, 2]),
        "beta": lambda theta_RP: np.exp(theta_RP[:, 3]),
    }


def test_published_bootstrap_intervals_are_reproduced(shared_data: Callable[[str], Path]) -> None:
    fit = chinchilla_fit(shared_data("scaling_laws"))
    resamples = resample(fit, num_refits=4000)
    assert not resamples.failed_R.any()
    for name, quantity in chinchilla_quantities(fit).items():
        found = resamples.interval(quantity)
        assert (found.lower, found.upper) == pytest.approx(PUBLISHED[name], rel=0.1), name


def test_a_resample_is_the_fit_to_the_points_drawn() -> None:
    points = power_runs(seed=0, cluster_sizes=(1,) * 12)
    options = FitOptions(residual="log_error", loss="squares")
    resamples = resample(fit_form(points, POWER, options), num_refits=3, seed=5)
    drawn_RN = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=3)
    for theta_P, count_N in zip(resamples.theta_RP, drawn_RN, strict=True):
        x_N, y_N = np.log(points.covariates["train_flops"]), np.log(points.error_N)
        slope = np.polyfit(x_N, y_N, 1, w=np.sqrt(count_N))[0]
        assert np.exp(theta_P[1]) == pytest.approx(-slope, rel=1e-6)


def test_drawing_clusters_keeps_their_runs_together_and_is_less_certain() -> None:
    fit = fit_form(
        power_runs(seed=1, cluster_sizes=(6,) * 15), POWER, FitOptions(residual="log_error", loss="squares")
    )
    spreads = {
        unit: resample(fit, num_refits=400, unit=unit).theta_RP[:, 0].std() for unit in ("points", "clusters")
    }
    assert spreads["clusters"] > 1.5 * spreads["points"]
