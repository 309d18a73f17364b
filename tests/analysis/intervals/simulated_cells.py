"""Cells of a simulated study: error rates on a bounded surface with noise of cells, which seeds share, and of runs."""

from __future__ import annotations

import numpy as np

from analysis.fitting.observations import Observations
from analysis.forms.bounded import Bounded
from analysis.forms.form import Floats, Law

SURFACE = Bounded(("parameters", "samples_seen"), 0.999)
REFERENCES = {"parameters": 6e7, "samples_seen": 1e9}
TRUE_VALUES = {
    "scale_parameters": 0.3,
    "scale_samples_seen": 0.4,
    "exponent_parameters": 0.35,
    "exponent_samples_seen": 0.3,
    "floor": 0.15,
}
TRUE_LAW = Law(form=SURFACE, theta=tuple(SURFACE.theta(TRUE_VALUES)), references=REFERENCES)
SHAPES = {9: (3, 3), 15: (3, 5), 40: (5, 8)}  # cells -> towers, numbers of samples
CELL_SD, RUN_SD = 0.006, 0.004


def cells(
    num_cells: int, *, seed: int, num_seeds: int = 2, law: Law = TRUE_LAW, heavy_tails: bool = False
) -> Observations:
    """Runs of every cell of a grid, clustered by cell; heavy tails: one run in twenty is far off."""
    num_towers, num_samples = SHAPES[num_cells]
    grid = np.meshgrid(np.geomspace(5e6, 6e8, num_towers), np.geomspace(1e8, 1e10, num_samples))
    parameters_G, samples_G = (axis.ravel() for axis in grid)
    cell_N = np.repeat(np.arange(num_cells), num_seeds)
    rng = np.random.default_rng(seed)
    noise_N = rng.normal(0, CELL_SD, num_cells)[cell_N] + rng.normal(0, RUN_SD, len(cell_N))
    if heavy_tails:
        noise_N += np.where(rng.random(len(cell_N)) < 0.05, rng.normal(0, 5 * RUN_SD, len(cell_N)), 0.0)
    error_G = law.predict(parameters=parameters_G, samples_seen=samples_G)
    return Observations.of(
        error_G[cell_N] + noise_N,
        clusters=[f"cell {cell:02d}" for cell in cell_N],
        parameters=parameters_G[cell_N],
        samples_seen=samples_G[cell_N],
    )


def power_runs(*, seed: int, cluster_sizes: tuple[int, ...], exponent: float = 0.25) -> Observations:
    """Runs of a pure power law of compute with log-normal noise, alike and more variable in larger clusters."""
    rng = np.random.default_rng(seed)
    cluster_N = np.repeat(np.arange(len(cluster_sizes)), cluster_sizes)
    compute_N = 10 ** rng.uniform(17, 21, len(cluster_N))
    noise_N = rng.normal(0, 0.03, len(cluster_sizes))[cluster_N] + rng.normal(0, 0.02, len(cluster_N))
    error_N = 0.4 * (compute_N / 1e19) ** -exponent * np.exp(noise_N)
    return Observations.of(error_N, clusters=[f"c{index:02d}" for index in cluster_N], train_flops=compute_N)


def at(law: Law, **covariates: list[float]) -> Floats:
    """The scaled covariates [M, K] of these points, as the form of the law takes them."""
    columns = [np.log(np.asarray(covariates[name]) / law.references[name]) for name in law.form.covariates]
    return np.stack(columns, axis=1)
