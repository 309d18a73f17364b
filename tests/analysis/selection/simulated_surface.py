"""Points of a known bounded surface, with noise of a known size."""

from __future__ import annotations

import numpy as np

from analysis.fitting.observations import Observations
from analysis.forms.bounded import Bounded
from analysis.forms.form import Form, Law

CEILING = 0.999
SURFACE = ("parameters", "samples_seen")
TRUTH = {
    "scale_parameters": 0.3,
    "scale_samples_seen": 0.4,
    "exponent_parameters": 0.35,
    "exponent_samples_seen": 0.3,
    "floor": 0.1,
}


def true_law(form: Form = Bounded(SURFACE, CEILING)) -> Law:
    """The law the points come from."""
    return Law(
        form=form,
        theta=tuple(map(float, form.theta(TRUTH))),
        references={"parameters": 6e7, "samples_seen": 1e9},
    )


def surface_points(noise: float, *, num_towers: int = 5, num_samples: int = 5, seed: int = 0) -> Observations:
    """Errors on a grid of towers and samples, with relative noise."""
    towers, samples = np.meshgrid(np.geomspace(5e6, 6e8, num_towers), np.geomspace(1e8, 1e10, num_samples))
    parameters_N, samples_N = towers.ravel(), samples.ravel()
    exact_N = true_law().predict(parameters=parameters_N, samples_seen=samples_N)
    error_N = exact_N * np.exp(np.random.default_rng(seed).normal(0, noise, len(exact_N)))
    return Observations.of(
        error_N,
        parameters=parameters_N,
        samples_seen=samples_N,
        train_flops=6 * parameters_N * samples_N,
        run_ids=[f"run-{row}" for row in range(len(error_N))],
    )
