"""How far runs scatter around a law: noise that the runs of a cell share, and noise of each run.

The first is what a smooth law misses at a tower and a number of samples; both objectives have most of it in common,
and it cancels in the ratio. Seeds average the second only.

Shapes.  N points, C cells.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.fit import Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

LEAST_SEED_DEGREES = 3  # of freedom within cells, below which seeds do not tell the noise of a run
LEAST_PAIRS = 8  # cells of both objectives, below which they do not tell what is shared
LEAST_DEGREES = 3  # of freedom of both fits together, below which residuals do not tell any noise


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Standard deviations on the scale of the residuals (errors: fractions), and where they come from."""

    cell: float  # of what the runs of one objective in a cell have in common
    run: float  # of each run around that
    shared: float  # correlation of the cell's part between the objectives, 0 to 1
    source: str = "stated"

    def __post_init__(self) -> None:
        if min(self.cell, self.run) < 0 or not self.cell + self.run > 0 or not 0 <= self.shared <= 1:
            raise ValueError(
                f"{self}: needs standard deviations of 0 or more, not both 0, and shared in [0, 1]."
            )


PRIOR_NOISE = Noise(
    cell=0.006,
    run=0.004,
    shared=1.0,
    source="assumed: 0.6 points of error per cell, shared by the objectives, and 0.4 per run",
)


def noise_of(studied: Fit, rival: Fit, prior: Noise = PRIOR_NOISE) -> Noise:
    """The noise of two fits; `source` says what was estimated and what taken from the prior, and why.

    Run noise from seeds within cells, cell noise from what residuals have beyond it, the shared part from residuals of
    the cells that both have.
    """
    residuals = [_residuals(fit) for fit in (studied, rival)]
    degrees = [max(len(fit.observations) - len(fit.form.parameters), 0) for fit in (studied, rival)]
    if sum(degrees) < LEAST_DEGREES:
        return dataclasses.replace(
            prior, source=f"{prior.source} (the fits leave {sum(degrees)} degrees of freedom)"
        )
    total = sum(float(np.sum(residual_N**2)) for residual_N in residuals) / sum(degrees)
    run, told_run = _run_variance((studied, rival), residuals, total, prior)
    cell = max(total - run, 0.0)
    shared, told_shared = _shared((studied, rival), residuals, cell, prior)
    return Noise(
        cell=float(np.sqrt(cell)), run=float(np.sqrt(run)), shared=shared, source=f"{told_run}; {told_shared}"
    )


def _residuals(fit: Fit) -> Floats:
    """Unweighted residuals [N]."""
    problem = Problem.of(fit.observations, fit.form, fit.options, fit.found.references)
    weighted_N = problem.residuals(np.asarray([fit.found.theta]))[0]
    return np.asarray(weighted_N / np.sqrt(problem.weight_N))


def _run_variance(
    fits: tuple[Fit, Fit], residuals: list[Floats], total: float, prior: Noise
) -> tuple[float, str]:
    squares, degrees = 0.0, 0
    for fit, residual_N in zip(fits, residuals, strict=True):
        cell_N = fit.observations.cluster_N
        mean_C = np.bincount(cell_N, residual_N) / np.bincount(cell_N)
        squares += float(np.sum((residual_N - mean_C[cell_N]) ** 2))
        degrees += len(residual_N) - len(mean_C)
    if degrees >= LEAST_SEED_DEGREES:
        variance = squares / degrees
        return variance, f"residuals of the fits; run noise from seeds ({degrees} degrees of freedom)"
    share = prior.run**2 / (prior.run**2 + prior.cell**2)
    return (
        share * total,
        f"residuals of the fits; {100 * share:.0f} % of their variance assumed per run (no seeds)",
    )


def _shared(fits: tuple[Fit, Fit], residuals: list[Floats], cell: float, prior: Noise) -> tuple[float, str]:
    means = []
    for fit, residual_N in zip(fits, residuals, strict=True):
        cell_N = fit.observations.cluster_N
        mean_C = np.bincount(cell_N, residual_N) / np.bincount(cell_N)
        means.append(dict(zip(sorted(set(fit.observations.clusters)), mean_C, strict=True)))
    paired = sorted(set(means[0]) & set(means[1]))
    if len(paired) < LEAST_PAIRS or cell == 0.0:
        return (
            prior.shared,
            f"{prior.shared:g} of the cell noise assumed shared ({len(paired)} cells in common)",
        )
    degrees = max(len(paired) - len(fits[0].form.parameters), 1)
    product = sum(float(means[0][label] * means[1][label]) for label in paired) / degrees
    shared = float(np.clip(product / cell, 0.0, 1.0))
    return shared, f"shared part from {len(paired)} cells in common"
